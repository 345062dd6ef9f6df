// The messages of a chat, drawn.

import { MessageView } from "./message.js";
import { template } from "./template.js";

const NEAR = 80; // pixels from the end, where the view follows what is written

/** Draws chats into an element that scrolls. `actions` are what the buttons of messages do. */
export class Thread {
  constructor(place, actions) {
    this.place = place;
    this.actions = actions;
    this.views = new WeakMap(); // message -> its view, also of chats that are not shown
    this.chat = null;
  }

  /** Draw what has changed; `busy` while the chat's last message is being written. Another chat is shown from its end. */
  show(chat, busy) {
    const another = chat !== this.chat;
    const follows = another || this.place.scrollHeight - this.place.scrollTop - this.place.clientHeight < NEAR;
    this.chat = chat;
    const last = chat.messages.at(-1);
    const elements = chat.messages.map((message) => {
      const view = this.viewOf(message);
      view.show(chat, message === last, busy);
      return view.element;
    });
    this.arrange(elements.length ? elements : [this.empty ??= template("empty-thread")]);
    if (follows) this.toEnd();
  }

  viewOf(message) {
    if (!this.views.has(message)) this.views.set(message, new MessageView(message, this.actions));
    return this.views.get(message);
  }

  /** Whether a text of this chat is being edited. */
  isEdited(chat) {
    return chat.messages.some((message) => this.views.get(message)?.editor);
  }

  toEnd() {
    this.place.scrollTop = this.place.scrollHeight;
  }

  /** Elements that stay where they are are not touched, or they would lose the focus. */
  arrange(elements) {
    const wanted = new Set(elements);
    for (const child of [...this.place.children]) if (!wanted.has(child)) child.remove();
    elements.forEach((element, place) => {
      if (this.place.children[place] !== element) this.place.insertBefore(element, this.place.children[place] ?? null);
    });
  }
}

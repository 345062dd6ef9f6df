// The messages of a chat, drawn.

import { arrange, template } from "./dom.js";
import { MessageView } from "./message.js";

const NEAR = 80; // pixels from the end, where the view follows what is written

/** Draws chats into an element that scrolls. `actions` are what the buttons of messages do. */
export class Thread {
  constructor(place, actions) {
    this.place = place;
    this.actions = actions;
    this.views = new WeakMap(); // message -> its view, also of chats that are not shown
    this.chat = null;
    this.empty = template("empty-thread");
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
    arrange(this.place, elements.length ? elements : [this.empty]);
    if (follows) this.toEnd();
  }

  viewOf(message) {
    if (!this.views.has(message)) this.views.set(message, new MessageView(message, this.actions));
    return this.views.get(message);
  }

  /** What stands in the editor of a message, undefined if there is none. */
  editedText(message) {
    return this.views.get(message)?.editor?.querySelector("textarea").value;
  }

  /** Whether a message of this chat is being edited. */
  isEdited(chat) {
    return chat.messages.some((message) => this.editedText(message) !== undefined);
  }

  toEnd() {
    this.place.scrollTop = this.place.scrollHeight;
  }
}

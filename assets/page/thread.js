// The messages of a chat, drawn, with their buttons.

import { nameOf, shown, withNames } from "./chat.js";
import { drawn } from "./markdown.js";

const ENDS = { length: "This is as long as a reply may be. Continue goes on.", stopped: "Stopped." };
const SILENCE = "The model said nothing. Retry, or say it otherwise.";

/** Draws a chat into an element. `actions` are what the buttons do: each takes the message. */
export class Thread {
  constructor(place, actions) {
    this.place = place;
    this.actions = actions;
    this.drawn = new Map(); // message -> its element
    this.editing = null; // the message in whose place an editor stands
  }

  /** Draw the whole chat; `busy` while its last message is being written. */
  show(chat, busy) {
    this.chat = chat;
    this.busy = busy;
    for (const message of this.drawn.keys()) if (message !== this.editing) this.drawn.delete(message);
    const empty = template("empty-thread");
    this.place.replaceChildren(...(chat.messages.length ? chat.messages.map((message) => this.draw(message)) : [empty]));
    this.toEnd();
  }

  /** Draw one message again, which has grown or changed. */
  refresh(message) {
    const near = this.isNearEnd();
    this.drawn.get(message)?.replaceWith(this.draw(message));
    if (near) this.toEnd();
  }

  draw(message) {
    if (message === this.editing && this.drawn.has(message)) return this.drawn.get(message);
    const variant = shown(message);
    const writing = this.busy && message === this.chat.messages.at(-1);
    const article = template("message");
    const part = (name) => article.querySelector(`.${name}`);
    article.classList.add(message.role);
    article.setAttribute("aria-label", nameOf(this.chat, message.role));
    part("name").textContent = nameOf(this.chat, message.role);
    drawAvatar(part("avatar"), message.role === "assistant" ? this.chat.character : null);
    part("thought").hidden = !variant.thought;
    part("thought-text").textContent = variant.thought;
    part("thought-label").textContent = writing && !variant.text ? "Thinking…" : "Thought";
    const text = withNames(this.chat, variant.text);
    if (message.role === "tool") part("text").append(code(text));
    else if (this.chat.schema && message.role === "assistant" && text) part("text").append(code(pretty(text)));
    else part("text").append(drawn(text));
    part("calls").append(...variant.calls.map(drawCall));
    part("writing").hidden = !writing || Boolean(variant.text);
    part("problem").textContent = writing ? "" : variant.problem || noteOf(message);
    part("problem").classList.toggle("note", !variant.problem);
    part("figures").textContent = figures(variant.figures);
    this.drawButtons(article, message, writing);
    this.keepOpen(message, part("thought"));
    this.drawn.set(message, article);
    return article;
  }

  drawButtons(article, message, writing) {
    const last = message === this.chat.messages.at(-1);
    const written = message.role === "assistant";
    const offered = {
      previous: message.variants.length > 1,
      next: message.variants.length > 1,
      retry: last && message.role !== "tool",
      continue: last && written && Boolean(shown(message).text) && !this.chat.schema,
      edit: message.role !== "tool",
      copy: Boolean(navigator.clipboard),
      branch: true,
      delete: true,
    };
    for (const button of article.querySelectorAll("button[data-do]")) {
      const name = button.dataset.do;
      button.hidden = writing || !offered[name];
      button.disabled = this.busy && name !== "copy";
      button.onclick = () => this.actions[name](message);
    }
    const count = article.querySelector(".variant");
    count.hidden = writing || message.variants.length < 2;
    count.textContent = `${message.chosen + 1} of ${message.variants.length}`;
  }

  /** A thought that was unfolded stays so while it grows. */
  keepOpen(message, details) {
    details.open = Boolean(this.drawn.get(message)?.querySelector(".thought").open);
  }

  isNearEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.place;
    return scrollHeight - scrollTop - clientHeight < 80;
  }

  toEnd() {
    this.place.scrollTop = this.place.scrollHeight;
  }

  /** Have the text of a message edited in its place; resolves to {text, answer}, or null if it was cancelled. */
  edit(message) {
    const form = template("editor");
    const field = form.querySelector("textarea");
    const article = this.drawn.get(message);
    form.querySelector("[value=answer]").hidden = message.role !== "user";
    field.value = shown(message).text;
    field.rows = Math.min(20, field.value.split("\n").length + 2);
    article.querySelector(".body").replaceChildren(form);
    article.querySelector(".foot").hidden = true;
    field.focus();
    this.editing = message;
    return new Promise((resolve) => {
      const end = (answer) => {
        this.editing = null;
        resolve(answer);
      };
      form.onsubmit = (event) => {
        event.preventDefault();
        const how = event.submitter?.value;
        end(how === "cancel" ? null : { text: field.value, answer: how === "answer" });
      };
      field.onkeydown = (event) => {
        if (event.key === "Escape") end(null);
      };
    });
  }
}

/** A copy of the first element in a template of the page. */
export function template(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

function drawAvatar(place, character) {
  place.hidden = !character?.avatar;
  if (character?.avatar) place.src = character.avatar;
}

function noteOf(message) {
  const { text, calls, end } = shown(message);
  return ENDS[end] ?? (text || calls.length || message.role !== "assistant" ? "" : SILENCE);
}

function drawCall(call) {
  const line = document.createElement("p");
  line.append("Calls ", Object.assign(document.createElement("code"), { textContent: `${call.function.name}(${call.function.arguments})` }));
  return line;
}

function code(text) {
  const block = Object.assign(document.createElement("pre"), { tabIndex: 0 });
  block.append(Object.assign(document.createElement("code"), { textContent: text }));
  return block;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // it is still being written
  }
}

function figures(told) {
  if (!told) return "";
  const speed = `${told.live ? "≈ " : ""}${Number(told.speed).toFixed(1)} tokens/s`;
  const written = `${told.written} tokens`;
  if (told.live) return `${written} · ${speed}`;
  const left = told.left ? [`${told.left} oldest messages did not fit and were left out`] : [];
  const prompt = `prompt ${told.prompt} tokens, ${told.cached} of them cached`;
  return [written, speed, `first after ${Number(told.first).toFixed(2)} s`, prompt, ...left].join(" · ");
}

// One message, drawn: made once, then changed where it has changed, so that what is unfolded, marked or in focus stays.

import { nameOf, shown, textOf } from "./chat.js";
import { template } from "./dom.js";
import { blocksOf, drawn } from "./markdown.js";

const ENDS = {
  writing: "It is being written in another tab.",
  length: "This is as long as a reply may be.",
  stopped: "Stopped.",
  rounds: "It went on calling tools, so this page stopped it.",
};
const SILENCE = "The model said nothing. Retry, or say it otherwise.";

export class MessageView {
  /** `actions` are what the buttons do, by their names; each takes the message. */
  constructor(message, actions) {
    this.message = message;
    this.element = template("message");
    this.element.classList.add(message.role);
    this.seen = {}; // what is drawn, by its place
    this.blocks = []; // the blocks of the text that are drawn
    for (const button of this.element.querySelectorAll("button[data-do]")) button.onclick = () => actions[button.dataset.do](message);
  }

  /** Draw what has changed. `last`: it is the chat's last; `busy`: the last one is being written. */
  show(chat, last, busy) {
    const { message } = this;
    const variant = shown(message);
    const writing = busy && last;
    const text = textOf(chat, message);
    const name = nameOf(chat, message.role);
    this.change("name", name, (part) => {
      part.textContent = name;
      this.element.setAttribute("aria-label", name);
    });
    this.change("avatar", (message.role === "assistant" && chat.character?.avatar) || "", (part, picture) => {
      part.hidden = !picture;
      if (picture) part.src = picture;
    });
    this.change("thought", Boolean(variant.thought), (part, there) => (part.hidden = !there));
    this.change("thought-label", writing && !text ? "Thinking…" : "Thought", write);
    this.change("thought-text", variant.thought, write);
    const isJson = Boolean(chat.schema) && message.role === "assistant";
    this.showText(isJson ? pretty(text) : text, isJson || message.role === "tool");
    this.change("calls", JSON.stringify(variant.calls), (part) => part.replaceChildren(...variant.calls.map(drawnCall)));
    this.change("writing", writing && !text && !variant.calls.length, (part, waits) => (part.hidden = !waits));
    this.change("problem", writing ? "" : variant.problem, write);
    this.change("note", writing || variant.problem ? "" : noteOf(message), write);
    this.change("figures", figures(variant.figures), write);
    this.showButtons(chat, last, busy, writing);
  }

  /**
   * Have the text edited in its place; resolves to {text, answer}, or null if it was cancelled. Escape cancels only what
   * has not been changed.
   */
  edit() {
    const form = template("editor");
    const field = form.querySelector("textarea");
    this.editor = form;
    form.querySelector("[value=answer]").hidden = this.message.role !== "user";
    field.value = shown(this.message).text;
    this.element.classList.add("editing");
    this.element.append(form);
    field.focus();
    return new Promise((resolve) => {
      const end = (answer) => {
        this.editor = null;
        this.element.classList.remove("editing");
        form.remove();
        resolve(answer);
      };
      form.onsubmit = (event) => {
        event.preventDefault();
        const how = event.submitter?.value;
        end(how === "cancel" ? null : { text: field.value, answer: how === "answer" });
      };
      field.onkeydown = (event) => {
        if (event.key !== "Escape" || event.isComposing) return;
        event.stopPropagation(); // it would stop a reply as well
        if (field.value === shown(this.message).text) end(null);
      };
    });
  }

  focus(button) {
    this.element.querySelector(`[data-do=${button}]`).focus();
  }

  change(place, value, apply) {
    if (this.seen[place] === value) return;
    this.seen[place] = value;
    apply(this.element.querySelector(`.${place}`), value);
  }

  /** Draw only the blocks that changed: while a reply grows, that is its last. Code is one block. */
  showText(text, isCode) {
    this.change("text", `${isCode} ${text}`, (part) => {
      const blocks = isCode && text ? [{ kind: "pre", text }] : blocksOf(text);
      const isOther = (block, place) => block.text !== this.blocks[place]?.text || block.kind !== this.blocks[place].kind;
      const other = blocks.findIndex(isOther);
      const kept = other < 0 ? blocks.length : other;
      while (part.children.length > kept) part.lastChild.remove();
      part.append(...blocks.slice(kept).map(drawn));
      this.blocks = blocks;
    });
  }

  showButtons(chat, last, busy, writing) {
    const { message } = this;
    const several = message.variants.length > 1;
    const offered = {
      previous: several,
      next: several,
      retry: last,
      continue: last && message.role === "assistant" && Boolean(shown(message).text) && !chat.schema,
      edit: message.role !== "tool",
      copy: Boolean(navigator.clipboard),
      branch: true,
      delete: true,
    };
    this.change("count", several && !writing ? `${message.chosen + 1} of ${message.variants.length}` : "", write);
    this.change("buttons", JSON.stringify([offered, busy, writing]), () => {
      for (const button of this.element.querySelectorAll("button[data-do]")) {
        button.hidden = writing || !offered[button.dataset.do];
        button.disabled = busy && button.dataset.do !== "copy";
      }
    });
  }
}

function write(part, text) {
  part.textContent = text;
}

function drawnCall({ function: asked }) {
  const line = document.createElement("p");
  line.append("Calls ", Object.assign(document.createElement("code"), { textContent: `${asked.name}(${asked.arguments})` }));
  return line;
}

/** Why a message ended as it did, where that is not plain to see. */
function noteOf(message) {
  const { text, calls, end } = shown(message);
  return ENDS[end] ?? (text || calls.length || message.role !== "assistant" ? "" : SILENCE);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // it is still being written
  }
}

/** Of a reply that has not come to its end the server has told nothing yet. */
function figures(told) {
  if (!told) return "";
  const { speed, written, first, prompt, cached, left } = told;
  if (prompt === undefined) return `${written} tokens · ≈ ${speed.toFixed(1)} tokens/s`;
  const cut = left ? ` · ${left} of the oldest messages did not fit` : "";
  return `${written} tokens · ${speed.toFixed(1)} tokens/s · first after ${first.toFixed(2)} s · prompt ${prompt} tokens, ${cached} of them cached${cut}`;
}

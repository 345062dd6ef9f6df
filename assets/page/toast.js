// Short sentences above the page, some with a way back.

import { template } from "./dom.js";

const SECONDS = 12;
const SECONDS_WITH_UNDO = 40;

const place = document.getElementById("toasts");

/** Say something for a while. `undo` is `{label, act}`: a button, and what it does. */
export function toast(words, undo) {
  const line = template("toast");
  const [said, undoButton, closeButton] = line.children;
  said.textContent = words;
  closeButton.onclick = () => {
    line.remove();
    document.getElementById("thread").focus();
  };
  undoButton.hidden = !undo;
  undoButton.textContent = undo?.label ?? "";
  undoButton.onclick = () => {
    line.remove();
    undo.act();
  };
  place.append(line);
  setTimeout(() => line.remove(), 1000 * (undo ? SECONDS_WITH_UNDO : SECONDS));
}

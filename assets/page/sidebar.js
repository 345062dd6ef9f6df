// The list of chats.

import { titleOf } from "./chat.js";
import { template } from "./template.js";

const list = document.getElementById("chat-list");
const entries = new WeakMap(); // chat -> its line

/** Draw the list; `actions` are what can be done with a chat. Lines that stay where they are keep the focus. */
export function drawSidebar(chats, current, actions) {
  const wanted = chats.map((chat) => lineOf(chat, chat === current, actions));
  for (const line of [...list.children]) if (!wanted.includes(line)) line.remove();
  wanted.forEach((line, place) => {
    if (list.children[place] !== line) list.insertBefore(line, list.children[place] ?? null);
  });
}

function lineOf(chat, isCurrent, actions) {
  if (!entries.has(chat)) entries.set(chat, template("chat-entry"));
  const line = entries.get(chat);
  const [openButton, exportButton, deleteButton] = line.children;
  const title = titleOf(chat);
  if (openButton.textContent !== title) {
    openButton.textContent = title;
    exportButton.setAttribute("aria-label", `Export ${title}`);
    deleteButton.setAttribute("aria-label", `Delete ${title}`);
  }
  openButton.setAttribute("aria-current", String(isCurrent));
  openButton.onclick = () => actions.open(chat);
  exportButton.onclick = () => actions.export(chat);
  deleteButton.onclick = () => actions.delete(chat);
  return line;
}

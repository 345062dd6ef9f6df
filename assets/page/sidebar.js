// The list of chats; on a phone it covers the page while it is open.

import { titleOf } from "./chat.js";
import { arrange, template } from "./dom.js";

const $ = (id) => document.getElementById(id);
const entries = new WeakMap(); // chat -> its line

$("show-chats").onclick = () => (isOpen() ? closeSidebar() : openSidebar());
matchMedia("(max-width: 760px)").onchange = closeSidebar;

/** Draw the list; `actions` are what can be done with a chat. */
export function drawSidebar(chats, current, actions) {
  arrange($("chat-list"), chats.map((chat) => lineOf(chat, chat === current, actions)));
}

export const isOpen = () => $("chats").classList.contains("open");

export function closeSidebar() {
  $("chats").classList.remove("open");
  $("main").inert = false;
  $("show-chats").setAttribute("aria-expanded", "false");
}

function openSidebar() {
  $("chats").classList.add("open");
  $("main").inert = true;
  $("show-chats").setAttribute("aria-expanded", "true");
  $("new-chat").focus();
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
  // The second click of a double click would meet the next line.
  deleteButton.onclick = (event) => event.detail < 2 && actions.delete(chat);
  return line;
}

// The list of chats, and files that leave the page.

import { titleOf } from "./chat.js";
import { template } from "./thread.js";

/** Draw the list; `actions` are what can be done with a chat. */
export function drawSidebar(chats, current, actions) {
  const entries = chats.map((chat) => {
    const entry = template("chat-entry");
    const [openButton, exportButton, deleteButton] = entry.children;
    openButton.textContent = titleOf(chat);
    openButton.onclick = () => actions.open(chat);
    exportButton.setAttribute("aria-label", `Export ${titleOf(chat)}`);
    exportButton.onclick = () => actions.export(chat);
    deleteButton.setAttribute("aria-label", `Delete ${titleOf(chat)}`);
    deleteButton.onclick = () => actions.delete(chat);
    if (chat === current) entry.setAttribute("aria-current", "true");
    return entry;
  });
  document.getElementById("chat-list").replaceChildren(...entries);
}

/** Have the browser save a text as a JSON file. */
export function saveFile(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const file = `${name.replace(/[^\p{L}\p{N} _-]/gu, "").trim() || "chat"}.json`;
  Object.assign(document.createElement("a"), { href: address, download: file }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

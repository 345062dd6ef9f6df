// Files that come to the page, chosen or dropped, and files that leave it.

import { cardFromJson, cardFromPng, CardError, isCard, isPng } from "./card.js";
import { imported, isExport } from "./exchange.js";
import { toast } from "./toast.js";

const NEITHER = "This is neither a character card (PNG or JSON) nor chats from this page.";

/** Read files; `card` is called with a card's character, `chats` with chats that were exported. */
export async function readFiles(files, { card, chats }) {
  for (const file of files) {
    try {
      const read = await readFile(file);
      if (Array.isArray(read)) await chats(read);
      else card(read);
    } catch (error) {
      toast(`${file.name}: ${error instanceof CardError ? error.message : `it could not be read (${error.message}).`}`);
    }
  }
}

/** Take files that are dropped anywhere; other things may be dropped where they could before. */
export function takeDrops(taken) {
  const isFiles = (event) => event.dataTransfer.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("dropping");
    if (!isFiles(event)) return;
    event.preventDefault();
    taken([...event.dataTransfer.files]);
  });
}

/** Have the browser save a text as a JSON file. */
export function saveFile(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const file = `${name.replace(/[^\p{L}\p{N} _-]/gu, "").trim() || "chat"}.json`;
  Object.assign(document.createElement("a"), { href: address, download: file }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

async function readFile(file) {
  if (isPng(new Uint8Array(await file.slice(0, 8).arrayBuffer()))) return cardFromPng(file);
  const value = await file.text().then(JSON.parse).catch(() => null);
  if (isCard(value)) return cardFromJson(value);
  if (!isExport(value)) throw new CardError(NEITHER);
  return imported(value);
}

// The dialog with the prompt that would be sent now.

import { requestOf } from "./chat.js";
import { askForKey, told } from "./connection.js";
import { previewPrompt } from "./server.js";

const dialog = document.getElementById("prompt");
const part = (selector) => dialog.querySelector(selector);
let looks = 0; // an answer that comes after the next look is of no use

/** Show the prompt of a chat, with what the user has typed and not sent. */
export async function showPrompt(chat, draft) {
  looks += 1;
  const look = looks;
  for (const each of [".summary", ".template", "pre"]) part(each).textContent = "";
  dialog.showModal();
  try {
    const preview = await previewPrompt(requestOf(chat, told.presets, draft));
    if (look === looks) show(preview);
  } catch (error) {
    if (look === looks) part(".summary").textContent = error.message;
    if (error.status === 401) askForKey();
  }
}

function show({ prompt, token_count: tokens, trimmed, template }) {
  const left = told.context ? ` of ${told.context}; ${Math.max(told.context - tokens, 0)} are left for the reply` : "";
  const cut = trimmed ? ` Messages that do not fit and are left out: ${trimmed.messages}.` : "";
  part(".summary").textContent = `${tokens} tokens${left}.${cut}`;
  part(".template").textContent = template ? `Template: ${template.name}. ${template.reason}` : "";
  part("pre").textContent = prompt;
}

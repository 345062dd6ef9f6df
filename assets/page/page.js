// The chat page: starts here, and ties its parts together. chat.js holds a chat and reply.js has it answered; server.js
// asks the server, which connection.js watches; store.js keeps chats, card.js and lorebook.js read characters; thread.js,
// sidebar.js, settings.js and markdown.js draw.

import { cardFromJson, cardFromPng, CardError, isCard, isPng } from "./card.js";
import { branch, newChat, newMessage, requestOf, shown, titleOf } from "./chat.js";
import { askForKey, told, watchServer } from "./connection.js";
import { DEMOS } from "./demos.js";
import { memory, remember } from "./memory.js";
import { makeRoom, writeReply } from "./reply.js";
import { previewPrompt } from "./server.js";
import { showSettings } from "./settings.js";
import { drawSidebar, saveFile } from "./sidebar.js";
import { deleteChat, exported, imported, isExport, loadChats, saveChat } from "./store.js";
import { Thread } from "./thread.js";

const SAVE_SECONDS = 0.25; // while a reply is written
const UNDO_SECONDS = 10;

const $ = (id) => document.getElementById(id);

let chats = [];
let chat = fresh();
const writing = new Map(); // chat -> AbortController
const drafts = new Map(); // chat -> what was typed and not sent

const thread = new Thread($("thread"), {
  retry: (message) => retry(message),
  continue: () => write(chat),
  edit,
  copy: async (message) => {
    await navigator.clipboard.writeText(shown(message).text);
    toast("Copied.");
  },
  branch: (message) => open(branch(chat, message)),
  delete: remove,
  previous: (message) => choose(message, -1),
  next: (message) => choose(message, 1),
});

// ---- chats ----

function fresh(given = {}) {
  return newChat({ ...given, user: memory.user });
}

async function keep(which = chat) {
  if (!which.messages.length && !which.character && !which.system && !chats.includes(which)) return; // nothing in it yet
  if (!chats.includes(which)) chats.unshift(which);
  try {
    if (await saveChat(which)) toast("This chat was changed in another tab too; here it goes on as a chat of its own.");
  } catch {
    toast("This browser does not keep the chat. Export it, or it is lost when the page is closed.");
  }
  remember({ chat: chat.id });
  drawChats();
}

function open(which) {
  drafts.set(chat, $("draft").value);
  chat = which;
  $("draft").value = drafts.get(chat) ?? "";
  keep();
  draw();
  closeSidebar();
}

function draw() {
  const busy = writing.has(chat);
  thread.show(chat, busy);
  $("title").textContent = titleOf(chat);
  document.title = `${titleOf(chat)} · Tavernkeep`;
  $("send").hidden = busy;
  $("stop").hidden = !busy;
  drawChats();
}

function drawChats() {
  drawSidebar(chats.includes(chat) ? chats : [chat, ...chats], chat, { open, export: (each) => saveFile(titleOf(each), exported([each])), delete: removeChat });
  $("title").textContent = titleOf(chat);
}

function removeChat(which) {
  writing.get(which)?.abort();
  chats = chats.filter((each) => each !== which);
  deleteChat(which).catch(() => {}); // what is not kept need not be deleted
  if (which === chat) open(chats[0] ?? fresh());
  else drawChats();
  toast(`“${titleOf(which)}” was deleted.`, () => open(which));
}

// ---- messages ----

async function send() {
  const text = $("draft").value.trim();
  if (!text || writing.has(chat)) return;
  $("draft").value = "";
  chat.messages.push(newMessage("user", text));
  await write(chat);
}

function retry(message) {
  if (message.role === "assistant") makeRoom(chat);
  return write(chat);
}

/** Have the chat's last reply written, or gone on with. */
async function write(which) {
  if (writing.has(which)) return;
  if (which.messages.at(-1)?.role !== "assistant") makeRoom(which);
  const stop = new AbortController();
  writing.set(which, stop);
  if (which === chat) draw();
  await keep(which);
  const saving = setInterval(() => saveChat(which).catch(() => {}), 1000 * SAVE_SECONDS);
  await writeReply(which, told.presets, stop.signal, (message) => show(which, message));
  clearInterval(saving);
  writing.delete(which);
  await keep(which);
  if (which === chat) draw();
  announce(which);
  if (shown(which.messages.at(-1)).refused) askForKey();
}

let drawing = 0;

/** At most once a frame, however fast the model is. */
function show(which, message) {
  if (which !== chat || drawing) return;
  drawing = requestAnimationFrame(() => {
    drawing = 0;
    if (which !== chat) return;
    if (message) thread.refresh(message);
    else draw();
  });
}

/** For screen readers: whole replies, not each word. */
function announce(which) {
  const variant = shown(which.messages.at(-1));
  const line = document.createElement("p");
  line.textContent = variant.problem || variant.text;
  $("heard").replaceChildren(line);
}

async function edit(message) {
  const answer = await thread.edit(message);
  if (answer) {
    shown(message).text = answer.text;
    if (answer.answer) dropAfter(message);
    keep();
  }
  draw();
  thread.drawn.get(message)?.querySelector("[data-do=edit]").focus();
  if (answer?.answer) write(chat);
}

function dropAfter(message) {
  const [from, before] = [chat, [...chat.messages]];
  chat.messages = chat.messages.slice(0, chat.messages.indexOf(message) + 1);
  if (before.length > chat.messages.length) toast("What followed was taken away.", () => restore(from, before));
}

function remove(message) {
  const [from, before] = [chat, [...chat.messages]];
  chat.messages = chat.messages.filter((each) => each !== message);
  keep();
  draw();
  $("thread").focus();
  toast("The message was deleted.", () => restore(from, before));
}

function restore(which, messages) {
  writing.get(which)?.abort();
  which.messages = messages;
  keep(which);
  if (which === chat) draw();
}

function choose(message, step) {
  const count = message.variants.length;
  message.chosen = (message.chosen + step + count) % count;
  keep();
  thread.refresh(message);
  thread.drawn.get(message).querySelector(step > 0 ? "[data-do=next]" : "[data-do=previous]").focus();
}

// ---- files ----

async function importFiles(files) {
  for (const file of files) {
    try {
      await importFile(file);
    } catch (error) {
      toast(`${file.name}: ${error instanceof CardError ? error.message : `it could not be read (${error.message}).`}`);
    }
  }
}

async function importFile(file) {
  if (isPng(new Uint8Array(await file.slice(0, 8).arrayBuffer()))) return begin(await cardFromPng(file));
  const value = await file.text().then(JSON.parse).catch(() => null);
  if (isCard(value)) return begin(cardFromJson(value));
  if (!isExport(value)) throw new CardError("This is neither a character card (PNG or JSON) nor chats from this page.");
  const added = imported(value);
  for (const each of added) await keep(each);
  if (added.length) open(added[0]);
  toast(`${added.length} chats were imported.`);
}

/** A new chat with a card's character. */
function begin({ character, system, greetings, notes }) {
  const messages = greetings.length ? [newMessage("assistant", ...greetings)] : [];
  open(fresh({ character, system, messages }));
  toast([`${character.name} is here.`, ...notes].join(" "));
}

// ---- the rest of the page ----

async function showPrompt() {
  const part = (selector) => $("prompt").querySelector(selector);
  for (const each of [".summary", ".template", "pre"]) part(each).textContent = "";
  $("prompt").showModal();
  try {
    const preview = await previewPrompt(requestOf(chat, told.presets, $("draft").value.trim()));
    const left = told.context ? ` of ${told.context}; ${Math.max(told.context - preview.token_count, 0)} are left for the reply` : "";
    const cut = preview.trimmed ? ` ${preview.trimmed.messages} messages do not fit and are left out.` : "";
    part(".summary").textContent = `${preview.token_count} tokens${left}.${cut}`;
    part(".template").textContent = preview.template ? `Template: ${preview.template.name}. ${preview.template.reason}` : "";
    part("pre").textContent = preview.prompt;
  } catch (error) {
    part(".summary").textContent = error.message;
    if (error.status === 401) askForKey();
  }
}

let forgetting = 0;

function toast(words, undo) {
  const [said, button] = $("toast").children;
  said.textContent = words;
  button.hidden = !undo;
  button.onclick = () => {
    $("toast").hidden = true;
    undo();
  };
  $("toast").hidden = false;
  clearTimeout(forgetting);
  forgetting = setTimeout(() => ($("toast").hidden = true), 1000 * UNDO_SECONDS);
}

function closeSidebar() {
  $("chats").classList.remove("open");
  $("show-chats").setAttribute("aria-expanded", "false");
}

function settingsChanged() {
  remember({ user: chat.user });
  keep();
  draw();
}

function startDemo(name) {
  const { draft, ...given } = DEMOS[name];
  open(fresh(given));
  $("draft").value = draft;
  $("draft").focus();
}

function listen() {
  $("composer").onsubmit = (event) => {
    event.preventDefault();
    send();
  };
  $("draft").onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  $("stop").onclick = () => writing.get(chat)?.abort();
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) writing.get(chat)?.abort();
  });
  $("new-chat").onclick = () => {
    open(fresh());
    $("draft").focus();
  };
  for (const button of document.querySelectorAll("[data-demo]")) button.onclick = () => startDemo(button.dataset.demo);
  $("import").onclick = () => $("import-file").click();
  $("import-file").onchange = async () => {
    await importFiles([...$("import-file").files]);
    $("import-file").value = "";
  };
  $("export-all").onclick = () => saveFile("tavernkeep-chats", exported(chats));
  $("show-settings").onclick = () => showSettings(chat, told, settingsChanged);
  $("show-prompt").onclick = showPrompt;
  $("show-key").onclick = askForKey;
  $("show-chats").onclick = () => {
    const shows = $("chats").classList.toggle("open");
    $("show-chats").setAttribute("aria-expanded", String(shows));
  };
  $("appearance").value = memory.appearance;
  $("appearance").onchange = () => {
    remember({ appearance: $("appearance").value });
    document.documentElement.dataset.appearance = memory.appearance;
  };
  window.addEventListener("pagehide", () => writing.forEach((_, which) => saveChat(which)));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  for (const end of ["dragleave", "drop"]) document.addEventListener(end, () => document.body.classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    importFiles([...event.dataTransfer.files]);
  });
}

async function start() {
  document.documentElement.dataset.appearance = memory.appearance;
  $("address").textContent = location.host;
  listen();
  watchServer();
  try {
    chats = await loadChats();
    navigator.storage?.persist?.();
  } catch {
    toast("This browser keeps no chats, as in some private windows. Export what you want to keep.");
  }
  chat = chats.find((each) => each.id === memory.chat) ?? fresh();
  draw();
}

start();

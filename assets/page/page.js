// The chat page: starts here, and ties its parts together. chat.js holds a chat and reply.js has it answered; server.js
// asks the server, which connection.js watches; store.js keeps chats, files.js, card.js and exchange.js read files; thread.js,
// message.js, markdown.js, sidebar.js, settings.js and toast.js draw.

import { branch, newChat, newMessage, requestOf, shown, textOf, titleOf } from "./chat.js";
import { askForKey, told, watchServer } from "./connection.js";
import { DEMOS } from "./demos.js";
import { exported } from "./exchange.js";
import { readFiles, saveFile, takeDrops } from "./files.js";
import { memory, recallDraft, remember, rememberDraft } from "./memory.js";
import { makeRoom, writeReply } from "./reply.js";
import { previewPrompt } from "./server.js";
import { showSettings } from "./settings.js";
import { drawSidebar } from "./sidebar.js";
import { deleteChat, loadChat, loadChats, saveChats, watchOtherTabs } from "./store.js";
import { Thread } from "./thread.js";
import { toast } from "./toast.js";

const SAVE_SECONDS = 0.5; // while a reply is written

const $ = (id) => document.getElementById(id);

let chats = []; // those that are kept, or should be
let chat = fresh();
const writing = new Map(); // chat -> {stop, done}
const removed = new WeakSet(); // chats that nobody wants to be kept

const thread = new Thread($("thread"), { retry, continue: () => write(chat), edit, copy, branch: branchAt, delete: remove, previous: (message) => choose(message, -1), next: (message) => choose(message, 1) });

// ---- chats ----

function fresh(given = {}) {
  return newChat({ ...given, user: memory.user });
}

function keep(which = chat) {
  if (removed.has(which)) return;
  if (!chats.includes(which)) chats.unshift(which);
  return keepAll([which]);
}

async function keepAll(these) {
  try {
    const forked = await saveChats(these.filter((each) => !removed.has(each)));
    if (forked.length) toast("This chat was changed in another tab at the same time. Here it goes on as a chat of its own.");
    navigator.storage?.persist?.();
  } catch {
    isNotKept();
  }
  if (chats.includes(chat)) remember({ chat: chat.id });
  draw();
}

function isNotKept() {
  if ($("kept").classList.contains("problem")) return;
  $("kept").classList.add("problem");
  $("kept").textContent = "This browser does not keep the chats, as in some private windows. Export what you do not want to lose.";
  toast($("kept").textContent);
}

function open(which) {
  chat = which;
  if (chats.includes(chat)) remember({ chat: chat.id });
  $("draft").value = recallDraft(draftName());
  draw();
  closeSidebar();
}

/** A chat that is not kept yet has another id after a reload. */
const draftName = () => (chats.includes(chat) ? chat.id : "new");

function draw() {
  const busy = writing.has(chat);
  thread.show(chat, busy);
  $("title").textContent = titleOf(chat);
  document.title = `${titleOf(chat)} · Tavernkeep`;
  $("send").hidden = busy;
  $("stop").hidden = !busy;
  const actions = { open: openFromList, export: (each) => saveFile(titleOf(each), exported([each])), delete: removeChat };
  drawSidebar(chats.includes(chat) ? chats : [chat, ...chats], chat, actions);
}

function openFromList(which) {
  open(which);
  $("thread").focus();
}

async function removeChat(which) {
  removed.add(which);
  await stopped(which);
  chats = chats.filter((each) => each !== which);
  if (which === chat) openFromList(chats[0] ?? fresh());
  else draw();
  const back = () => {
    removed.delete(which);
    keep(which);
    openFromList(which);
  };
  toast(`“${titleOf(which)}” was deleted.`, { label: "Undo", act: back });
  deleteChat(which).catch(isNotKept);
}

/** What another tab has kept is taken over, unless it is being changed here. */
async function chatChangedElsewhere(id) {
  const kept = await loadChat(id);
  const own = chats.find((each) => each.id === id);
  if (!kept || writing.has(own) || (own && thread.isEdited(own))) return;
  if (own) Object.assign(own, kept);
  else chats.unshift(kept);
  draw();
}

// ---- messages ----

function send() {
  const text = $("draft").value.trim();
  if (!text || writing.has(chat)) return;
  $("draft").value = "";
  rememberDraft(draftName(), "");
  chat.messages.push(newMessage("user", text));
  write(chat);
  thread.toEnd();
}

function retry(message) {
  if (message.role === "assistant") makeRoom(chat);
  write(chat);
}

/** Have the chat's last reply written, or gone on with. */
function write(which) {
  if (writing.has(which)) return;
  if (which.messages.at(-1)?.role !== "assistant") makeRoom(which);
  const stop = new AbortController();
  writing.set(which, { stop, done: written(which, stop.signal) });
  draw();
  if (which === chat) $("draft").focus();
}

async function written(which, signal) {
  keep(which);
  const saving = setInterval(() => keep(which), 1000 * SAVE_SECONDS);
  await writeReply(which, told.presets, signal, () => drawSoon(which));
  clearInterval(saving);
  writing.delete(which);
  keep(which);
  draw();
  announce(which);
  if (shown(which.messages.at(-1)).refused) askForKey();
}

/** End the reply that is being written, if one is, and wait for its end. */
async function stopped(which) {
  writing.get(which)?.stop.abort();
  await writing.get(which)?.done;
}

let drawing = 0;

/** At most once a frame, however fast the model is. */
function drawSoon(which) {
  if (which !== chat || drawing) return;
  drawing = requestAnimationFrame(() => {
    drawing = 0;
    thread.show(chat, writing.has(chat));
  });
}

/** For screen readers: whole replies, not each word. */
function announce(which) {
  const last = which.messages.at(-1);
  const where = which === chat ? "" : `In ${titleOf(which)}: `;
  const line = document.createElement("p");
  line.textContent = where + (shown(last).problem || textOf(which, last) || "The reply is empty.");
  $("heard").replaceChildren(line);
}

async function edit(message) {
  const from = chat;
  const variant = shown(message);
  const answer = await thread.viewOf(message).edit();
  if (answer) {
    if (answer.answer) {
      await stopped(from);
      dropAfter(from, message);
    }
    variant.text = answer.text;
    keep(from);
    if (answer.answer) write(from);
  }
  draw();
  if (from === chat && !answer?.answer) thread.viewOf(message).focus("edit");
}

/** What is taken away stays to be had as a chat of its own. */
function dropAfter(which, message) {
  const before = branch(which, which.messages);
  const kept = which.messages.slice(0, which.messages.indexOf(message) + 1);
  if (kept.length === which.messages.length) return;
  which.messages = kept;
  const back = () => {
    keep(before);
    openFromList(before);
  };
  toast("What followed was taken away.", { label: "Keep it as a branch", act: back });
}

function remove(message) {
  const [from, place] = [chat, chat.messages.indexOf(message)];
  from.messages.splice(place, 1);
  keep(from);
  draw();
  $("thread").focus();
  const back = () => {
    from.messages.splice(Math.min(place, from.messages.length), 0, message);
    keep(from);
    draw();
  };
  toast("The message was deleted.", { label: "Undo", act: back });
}

function branchAt(message) {
  const before = chat.messages.slice(0, chat.messages.indexOf(message) + 1);
  const copy = branch(chat, before);
  keep(copy);
  openFromList(copy);
}

async function copy(message) {
  try {
    await navigator.clipboard.writeText(textOf(chat, message));
    toast("Copied.");
  } catch {
    toast("This browser does not let the page copy.");
  }
}

function choose(message, step) {
  const count = message.variants.length;
  message.chosen = (message.chosen + step + count) % count;
  keep();
  draw();
}

// ---- files ----

const taken = {
  /** A new chat with a card's character. */
  card({ character, system, greetings, notes }) {
    const messages = greetings.length ? [newMessage("assistant", ...greetings)] : [];
    const begun = fresh({ character, system, messages });
    keep(begun);
    openFromList(begun);
    $("thread").scrollTop = 0;
    toast([`${character.name} is here.`, ...notes].join(" "));
  },

  async chats(added) {
    chats.unshift(...added);
    await keepAll(added);
    if (added.length) openFromList(added[0]);
    toast(added.length === 1 ? "One chat was imported." : `${added.length} chats were imported.`);
  },
};

/** Also what other tabs have added meanwhile. */
async function exportAll() {
  const kept = await loadChats().catch(() => []);
  const own = new Set(chats.map((each) => each.id));
  saveFile("tavernkeep-chats", exported([...chats, ...kept.filter((each) => !own.has(each.id))]));
}

// ---- the rest of the page ----

async function showPrompt() {
  const part = (selector) => $("prompt").querySelector(selector);
  for (const each of [".summary", ".template", "pre"]) part(each).textContent = "";
  $("prompt").showModal();
  try {
    const preview = await previewPrompt(requestOf(chat, told.presets, $("draft").value.trim()));
    const left = told.context ? ` of ${told.context}; ${Math.max(told.context - preview.token_count, 0)} are left for the reply` : "";
    const cut = preview.trimmed ? ` Messages that do not fit and are left out: ${preview.trimmed.messages}.` : "";
    part(".summary").textContent = `${preview.token_count} tokens${left}.${cut}`;
    part(".template").textContent = preview.template ? `Template: ${preview.template.name}. ${preview.template.reason}` : "";
    part("pre").textContent = preview.prompt;
  } catch (error) {
    part(".summary").textContent = error.message;
    if (error.status === 401) askForKey();
  }
}

function openSettings() {
  const which = chat;
  const removedCharacter = (character) => {
    const back = () => {
      which.character = character;
      keep(which);
    };
    toast(`${character.name} was removed.`, { label: "Undo", act: back });
  };
  const changed = () => {
    remember({ user: which.user });
    keep(which);
  };
  showSettings(which, told, changed, removedCharacter);
}

function newChatOf(given, draft = "") {
  open(fresh(given));
  if (draft) $("draft").value = draft;
  $("draft").focus();
}

/** The list of chats on a phone: it covers the page while it is open. */
function openSidebar() {
  $("chats").classList.add("open");
  $("main").inert = true;
  $("show-chats").setAttribute("aria-expanded", "true");
  $("new-chat").focus();
}

function closeSidebar() {
  $("chats").classList.remove("open");
  $("main").inert = false;
  $("show-chats").setAttribute("aria-expanded", "false");
}

function escaped(event) {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if ($("chats").classList.contains("open")) {
    closeSidebar();
    $("show-chats").focus();
  } else writing.get(chat)?.stop.abort();
}

function listenToComposer() {
  $("composer").onsubmit = (event) => {
    event.preventDefault();
    send();
  };
  $("draft").onkeydown = (event) => {
    const composes = event.isComposing || event.keyCode === 229; // 229 is Safari's sign for the same
    if (event.key !== "Enter" || event.shiftKey || composes) return;
    event.preventDefault();
    send();
  };
  $("draft").oninput = () => rememberDraft(draftName(), $("draft").value);
  $("stop").onclick = () => {
    writing.get(chat)?.stop.abort();
    $("draft").focus();
  };
  $("show-prompt").onclick = showPrompt;
}

function listenToSidebar() {
  $("new-chat").onclick = () => newChatOf({});
  for (const button of document.querySelectorAll("[data-demo]")) {
    const { draft, ...given } = DEMOS[button.dataset.demo];
    button.onclick = () => newChatOf(given, draft);
  }
  $("import").onclick = () => $("import-file").click();
  $("import-file").onchange = async () => {
    await readFiles([...$("import-file").files], taken);
    $("import-file").value = "";
  };
  $("export-all").onclick = exportAll;
  $("show-key").onclick = askForKey;
  $("show-chats").onclick = () => ($("chats").classList.contains("open") ? closeSidebar() : openSidebar());
  $("appearance").value = memory.appearance;
  $("appearance").onchange = () => {
    remember({ appearance: $("appearance").value });
    document.documentElement.dataset.appearance = memory.appearance;
  };
}

async function start() {
  document.documentElement.dataset.appearance = memory.appearance;
  $("address").textContent = location.host;
  $("draft").value = recallDraft("new");
  listenToComposer();
  listenToSidebar();
  $("show-settings").onclick = openSettings;
  document.addEventListener("keydown", escaped);
  takeDrops((files) => readFiles(files, taken));
  window.addEventListener("pagehide", () => writing.forEach((_, which) => keep(which)));
  window.addEventListener("beforeunload", (event) => {
    if (document.querySelector(".editor")) event.preventDefault(); // what is being edited would be lost
  });
  draw();
  watchServer();
  try {
    watchOtherTabs(chatChangedElsewhere);
    const kept = (await loadChats()).filter((each) => !chats.some((own) => own.id === each.id));
    chats.push(...kept);
    const last = kept.find((each) => each.id === memory.chat);
    if (last && !chat.messages.length) open(last);
    else draw();
  } catch {
    isNotKept();
  }
}

start();

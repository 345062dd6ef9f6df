// The chat page: starts here, and ties its parts together. chat.js holds a chat and reply.js has it answered; server.js
// asks the server, which connection.js watches; store.js keeps chats, files.js, card.js and exchange.js read files; thread.js,
// message.js, markdown.js, sidebar.js, settings.js, prompt.js and toast.js draw.

import { branch, newChat, newMessage, shown, textOf, titleOf } from "./chat.js";
import { askForKey, told, watchServer } from "./connection.js";
import { DEMOS } from "./demos.js";
import { exported } from "./exchange.js";
import { readFiles, saveFile, takeDrops } from "./files.js";
import { memory, recallDraft, remember, rememberChat, rememberDraft } from "./memory.js";
import { showPrompt } from "./prompt.js";
import { makeRoom, writeReply } from "./reply.js";
import { showSettings } from "./settings.js";
import { closeSidebar, drawSidebar, isOpen } from "./sidebar.js";
import { deleteChat, loadChat, loadChats, saveChats, watchOtherTabs } from "./store.js";
import { Thread } from "./thread.js";
import { toast } from "./toast.js";

const SAVE_SECONDS = 0.5; // while a reply is written

const $ = (id) => document.getElementById(id);

let chats = []; // those that are kept, or should be; the last changed first
let chat = fresh();
let settled = null; // the chat whose settings are open
const writing = new Map(); // chat -> {stop, done}
const removed = new WeakSet(); // chats that nobody wants to be kept
let loaded = false; // whether the chats of earlier visits are there
let lasting = null; // whether the browser was asked to keep them

const thread = new Thread($("thread"), {
  retry,
  continue: () => write(chat),
  edit,
  copy,
  branch: branchAt,
  delete: remove,
  previous: (message) => choose(message, -1),
  next: (message) => choose(message, 1),
});

// ---- keeping chats ----

function fresh(given = {}) {
  return newChat({ ...given, user: memory.user });
}

function keep(which = chat) {
  if (removed.has(which)) return;
  const isNew = !chats.includes(which);
  chats = [which, ...chats.filter((each) => each !== which)];
  if (isNew && which === chat) {
    rememberDraft("new", "");
    rememberOpen();
  }
  return keepAll([which]);
}

async function keepAll(these) {
  try {
    const forked = await saveChats(these.filter((each) => !removed.has(each)));
    $("not-kept").hidden = true;
    if (forked.size) toast("This chat was changed in another tab too. Here it goes on as a chat of its own.");
    if (forked.has(chat)) rememberOpen();
    for (const id of forked.values()) await changedElsewhere(id);
    lasting ??= navigator.storage?.persist?.() ?? true; // or browsers may throw them away when the disk is full
    if (!loaded) await load();
  } catch {
    isNotKept();
  }
  draw();
}

function isNotKept() {
  if ($("not-kept").hidden) toast($("not-kept").textContent);
  $("not-kept").hidden = false;
}

/** The chats of earlier visits. */
async function load() {
  const kept = await loadChats();
  loaded = true;
  chats.push(...unknown(kept));
}

/** Those of the chats that this tab has not. */
function unknown(kept) {
  const own = new Set(chats.map((each) => each.id));
  return kept.filter((each) => !own.has(each.id));
}

/** What another tab has kept or deleted is taken over, unless the chat is in somebody's hands here. */
async function changedElsewhere(id) {
  const kept = await loadChat(id);
  const own = chats.find((each) => each.id === id);
  if (own && (writing.has(own) || own === settled || thread.isEdited(own))) return;
  if (!own && kept) chats.unshift(kept);
  else if (own && kept && kept.changed > own.changed) takeOver(own, kept);
  else if (own && !kept && !(own === chat && $("draft").value)) {
    chats = chats.filter((each) => each !== own);
    if (own === chat) open(chats[0] ?? fresh());
  }
  draw();
}

/** Message by message, so that what is drawn of them stays. */
function takeOver(own, kept) {
  const messages = kept.messages.map((message, place) =>
    own.messages[place]?.role === message.role ? Object.assign(own.messages[place], message) : message,
  );
  Object.assign(own, kept, { messages });
}

/** A chat that is not kept yet has another id after a reload. */
const draftName = () => (chats.includes(chat) ? chat.id : "new");

const keepDraft = () => rememberDraft(draftName(), $("draft").value);

/** The open chat has got another id, by which a reload finds it and what was typed into it. */
function rememberOpen() {
  rememberChat(chat.id);
  keepDraft();
}

// ---- chats ----

function open(which) {
  chat = which;
  if (chats.includes(chat)) rememberChat(chat.id);
  $("draft").value = recallDraft(draftName());
  draw();
  closeSidebar();
}

function openFromList(which) {
  open(which);
  $("thread").focus();
}

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

async function removeChat(which) {
  if (removed.has(which)) return;
  removed.add(which);
  closeSidebar();
  await stopped(which);
  chats = chats.filter((each) => each !== which);
  if (which === chat) open(chats[0] ?? fresh());
  else draw();
  $("thread").focus();
  const back = () => {
    removed.delete(which);
    keep(which);
    openFromList(which);
  };
  toast(`“${titleOf(which)}” was deleted.`, { label: "Undo", act: back });
  deleteChat(which).catch(isNotKept);
}

/** A new chat with something typed into it already. */
function begin(given = {}, draft = "") {
  open(fresh(given));
  if (draft) {
    $("draft").value = draft;
    keepDraft();
  }
  $("draft").focus();
}

function openSettings() {
  const which = chat;
  settled = which;
  const changed = () => {
    remember({ user: which.user });
    keep(which);
  };
  const closed = (character) => {
    settled = null;
    changedElsewhere(which.id);
    const back = () => {
      which.character = character;
      keep(which);
    };
    if (character) toast(`${character.name} was removed.`, { label: "Undo", act: back });
  };
  showSettings(which, told, changed, closed);
}

// ---- messages ----

function send() {
  const text = $("draft").value.trim();
  if (!text || writing.has(chat)) return;
  $("draft").value = "";
  keepDraft();
  chat.messages.push(newMessage("user", text));
  answer(chat);
  thread.toEnd();
}

function retry() {
  answer(chat);
  toComposer();
}

/** Have a chat answered, or answered once more. */
function answer(which) {
  makeRoom(which);
  write(which);
}

/** Have the chat's last reply written, or gone on with. */
function write(which) {
  if (writing.has(which)) return;
  const stop = new AbortController();
  writing.set(which, { stop, done: written(which, stop.signal) });
  draw();
}

async function written(which, signal) {
  keep(which);
  const saving = setInterval(() => keep(which), 1000 * SAVE_SECONDS);
  try {
    await writeReply(which, told.presets, signal, () => drawSoon(which));
  } finally {
    clearInterval(saving);
    writing.delete(which);
    keep(which);
    draw();
  }
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
  const edited = await thread.viewOf(message).edit();
  if (edited?.answer) {
    await stopped(from);
    dropAfter(from, message);
  }
  if (edited) {
    variant.text = edited.text;
    keep(from);
  } else await changedElsewhere(from.id);
  if (edited?.answer) answer(from);
  draw();
  if (from !== chat) return;
  if (writing.has(from)) $("thread").focus();
  else thread.viewOf(message).focus("edit");
}

/** What is taken away, and what is being written in its place, stays to be had as a chat of its own. */
function dropAfter(which, message) {
  const kept = which.messages.slice(0, which.messages.indexOf(message) + 1);
  if (kept.length === which.messages.length) return;
  for (const each of which.messages) shown(each).text = thread.editedText(each) ?? shown(each).text;
  const before = branch(which, which.messages);
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
  $("thread").focus();
  const back = () => {
    const most = from.messages.length - (writing.has(from) ? 1 : 0); // what is being written stays the last
    from.messages.splice(Math.min(place, most), 0, message);
    keep(from);
    $("thread").focus();
  };
  toast("The message was deleted.", { label: "Undo", act: back });
}

function branchAt(message) {
  const copied = branch(chat, chat.messages.slice(0, chat.messages.indexOf(message) + 1));
  keep(copied);
  openFromList(copied);
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
}

/** To where one goes on typing; on a phone that would bring up the keyboard. */
function toComposer() {
  (matchMedia("(hover: hover)").matches ? $("draft") : $("thread")).focus();
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
  saveFile("tavernkeep-chats", exported([...chats, ...unknown(kept)]));
}

// ---- the beginning ----

function escaped(event) {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (isOpen()) {
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
  $("draft").oninput = keepDraft;
  $("stop").onclick = () => {
    writing.get(chat)?.stop.abort();
    toComposer();
  };
  $("show-prompt").onclick = () => showPrompt(chat, $("draft").value.trim());
}

function listenToSidebar() {
  $("new-chat").onclick = () => begin();
  for (const button of document.querySelectorAll("[data-demo]")) {
    const { draft, ...given } = DEMOS[button.dataset.demo];
    button.onclick = () => begin(given, draft);
  }
  $("import").onclick = () => $("import-file").click();
  $("import-file").onchange = async () => {
    closeSidebar();
    await readFiles([...$("import-file").files], taken);
    $("import-file").value = "";
  };
  $("export-all").onclick = exportAll;
  $("show-key").onclick = askForKey;
  $("appearance").value = memory.appearance;
  $("appearance").onchange = () => {
    remember({ appearance: $("appearance").value });
    document.documentElement.dataset.appearance = memory.appearance;
  };
}

function listenToPage() {
  $("show-settings").onclick = openSettings;
  document.addEventListener("keydown", escaped);
  takeDrops((files) => readFiles(files, taken));
  watchOtherTabs(changedElsewhere);
  window.addEventListener("pagehide", () => writing.forEach((_, which) => keep(which)));
  window.addEventListener("beforeunload", (event) => {
    if ([chat, ...chats].some((each) => thread.isEdited(each))) event.preventDefault(); // it would be lost
  });
}

/** The chat of the last visit, unless the user was faster. */
async function start() {
  document.documentElement.dataset.appearance = memory.appearance;
  $("address").textContent = location.host;
  $("draft").value = recallDraft("new");
  listenToComposer();
  listenToSidebar();
  listenToPage();
  draw();
  watchServer();
  const [first, typed] = [chat, $("draft").value];
  try {
    await load();
  } catch {
    isNotKept();
  }
  const last = chats.find((each) => each.id === memory.chat);
  const untouched = chat === first && !chats.includes(first) && $("draft").value === typed && !document.querySelector("dialog[open]");
  if (last && untouched) open(last);
  else draw();
}

start();

// The chats as this browser keeps them, in IndexedDB, for all its tabs.

import { newId, titleOf } from "./chat.js";

const PATIENCE = 5; // seconds; some browsers never open what they do not want to keep

const otherTabs = new BroadcastChannel("tavernkeep");
let opening = null;
let saved = Promise.resolve(); // one after the other

/** All chats, the last changed first. Throws where the browser keeps nothing, as some private windows do. */
export async function loadChats() {
  const chats = await inStore("readonly", (store) => store.getAll());
  return chats.map(ended).sort((one, other) => other.changed - one.changed);
}

/** One chat as it is kept now, undefined if it is not. */
export async function loadChat(id) {
  await saved.catch(() => {});
  return inStore("readonly", (store) => store.get(id));
}

/**
 * Keep chats. One that another tab has kept since this one last did becomes a chat of its own: nobody's words are lost.
 * Returns those, each with the id of what it was: `Map(chat -> id)`.
 */
export function saveChats(chats) {
  saved = saved.catch(() => {}).then(() => save(chats));
  return saved;
}

export async function deleteChat(chat) {
  await saved.catch(() => {});
  await inStore("readwrite", (store) => store.delete(chat.id));
  otherTabs.postMessage(chat.id);
}

/** Have `changed` called with the id of a chat that another tab has kept or deleted. */
export function watchOtherTabs(changed) {
  otherTabs.onmessage = ({ data }) => changed(data);
}

async function save(chats) {
  const kept = new Map(); // chat -> what it becomes by being kept
  const forked = new Map();
  await inStore("readwrite", (store) => {
    for (const chat of chats) {
      const request = store.get(chat.id);
      request.onsuccess = () => {
        const before = request.result;
        const own = before ? { changed: Math.max(Date.now(), chat.changed + 1) } : {};
        if (before && before.changed !== chat.changed) {
          forked.set(chat, chat.id);
          Object.assign(own, { id: newId(), title: `${titleOf(chat)} (from another tab)` });
        }
        kept.set(chat, own);
        store.put({ ...chat, ...kept.get(chat) });
      };
    }
  });
  for (const [chat, changes] of kept) Object.assign(chat, changes);
  for (const chat of chats) otherTabs.postMessage(chat.id);
  return forked;
}

/** A reply that was being written when the page was closed ended there. */
function ended(chat) {
  for (const variant of chat.messages.flatMap((message) => message.variants)) if (variant.end === "writing") variant.end = "stopped";
  return chat;
}

async function inStore(mode, act) {
  const transaction = (await database()).transaction("chats", mode);
  const request = act(transaction.objectStore("chats"));
  await settled(transaction, "complete");
  return request?.result;
}

function database() {
  opening ??= open().catch((error) => {
    opening = null; // the next one tries again
    throw error;
  });
  return opening;
}

async function open() {
  const request = indexedDB.open("tavernkeep", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("chats", { keyPath: "id" });
  const opened = settled(request, "success").then(() => {
    request.result.onclose = () => (opening = null);
    opening = Promise.resolve(request.result); // also if it comes late
    return request.result;
  });
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("too late")), 1000 * PATIENCE));
  return Promise.race([opened, late]);
}

function settled(request, done) {
  return new Promise((resolve, reject) => {
    request.addEventListener(done, resolve);
    for (const failure of ["error", "abort"]) request.addEventListener(failure, () => reject(request.error));
  });
}

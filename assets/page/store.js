// The chats as this browser keeps them (IndexedDB), and as files.

import { CHAT_DEFAULTS, newChat, newId, newVariant, titleOf } from "./chat.js";

const FORMAT = "tavernkeep-chats";
const ROLES = ["user", "assistant", "tool"];
const PICTURE = /^data:image\/(png|webp|jpeg);base64,[A-Za-z0-9+/=]*$/;

let opened;

/** All chats, the last changed first. Throws where the browser keeps nothing, as some private windows do. */
export async function loadChats() {
  const chats = await inStore("readonly", (store) => store.getAll());
  return chats.sort((one, other) => other.changed - one.changed);
}

/**
 * Keep a chat. If another tab has kept it since this one last did, this tab's becomes a chat of its own, and true is
 * returned: nobody's words are lost.
 */
export async function saveChat(chat) {
  let changedElsewhere = false;
  await inStore("readwrite", (store) => {
    const request = store.get(chat.id);
    request.onsuccess = () => {
      changedElsewhere = Boolean(request.result) && request.result.changed !== chat.changed;
      if (changedElsewhere) Object.assign(chat, { id: newId(), title: `${titleOf(chat)} (from another tab)` });
      chat.changed = Math.max(Date.now(), chat.changed + 1);
      store.put(chat);
    };
    return request;
  });
  return changedElsewhere;
}

export const deleteChat = (chat) => inStore("readwrite", (store) => store.delete(chat.id));

/** Chats as the text of a file. */
export const exported = (chats) => JSON.stringify({ format: FORMAT, version: 1, chats }, null, 1);

export const isExport = (value) => value?.format === FORMAT;

/** The chats in a file that was exported, as new ones. What is not as it should be is left out. */
export function imported(value) {
  const chats = Array.isArray(value.chats) ? value.chats.filter((chat) => Array.isArray(chat?.messages)) : [];
  return chats.map((chat) => newChat({ ...like(CHAT_DEFAULTS, chat), ...odd(chat), messages: chat.messages.map(readMessage).filter(Boolean) }));
}

/** The fields of `usual` that `given` has in the same type. */
function like(usual, given) {
  const fits = ([name, value]) => typeof given?.[name] === typeof value && value !== null && !Array.isArray(value);
  return Object.fromEntries(Object.entries(usual).filter(fits).map(([name]) => [name, given[name]]));
}

/** The fields that may be empty. */
function odd(chat) {
  const character = typeof chat.character?.name === "string" ? readCharacter(chat.character) : null;
  return { character, maxTokens: Number.isInteger(chat.maxTokens) ? chat.maxTokens : null };
}

function readCharacter(character) {
  const usual = { keys: [], others: [], always: false, exact: false, order: 0, text: "" };
  const texts = (value) => (Array.isArray(value) ? value.filter((each) => typeof each === "string") : []);
  const entries = Array.isArray(character.book) ? character.book : [];
  const book = entries.map((entry) => ({ ...usual, ...like(usual, entry), keys: texts(entry?.keys), others: texts(entry?.others) }));
  const read = { name: "", about: "", closing: "", ...like({ name: "", about: "", closing: "" }, character) };
  return { ...read, avatar: PICTURE.test(character.avatar) ? character.avatar : "", book };
}

function readMessage(message) {
  if (!ROLES.includes(message?.role) || !Array.isArray(message.variants)) return null;
  const variants = message.variants.map((variant) => ({ ...newVariant(), ...like(newVariant(), variant), calls: readCalls(variant?.calls) }));
  if (!variants.length) return null;
  const chosen = variants[message.chosen] ? message.chosen : 0;
  return { role: message.role, variants, chosen, ...(typeof message.call === "string" && { call: message.call }) };
}

function readCalls(calls) {
  const whole = (call) => [call?.id, call?.function?.name, call?.function?.arguments].every((part) => typeof part === "string");
  return Array.isArray(calls) ? calls.filter(whole) : [];
}

async function inStore(mode, act) {
  const transaction = (await database()).transaction("chats", mode);
  const request = act(transaction.objectStore("chats"));
  await settled(transaction, "complete");
  return request.result;
}

function database() {
  if (!opened) {
    const request = indexedDB.open("tavernkeep", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("chats", { keyPath: "id" });
    opened = settled(request, "success").then(() => request.result);
  }
  return opened;
}

function settled(request, done) {
  return new Promise((resolve, reject) => {
    request.addEventListener(done, resolve);
    for (const failure of ["error", "abort"]) request.addEventListener(failure, () => reject(request.error));
  });
}

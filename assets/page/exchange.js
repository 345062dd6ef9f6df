// Chats as files: what this page exports, and what of a file it believes.

import { CHAT_DEFAULTS, newChat, newVariant, SAMPLERS } from "./chat.js";

const FORMAT = "tavernkeep-chats";
const ROLES = ["user", "assistant", "tool"];
const TOOL_CHOICES = ["", "auto", "required"];
const PICTURE = /^data:image\/(png|webp|jpeg);base64,[A-Za-z0-9+/=]*$/;
const TEXTS = { name: "", about: "", closing: "" };
const ENTRY = { always: false, exact: false, order: 0, text: "" };

/** Chats as the text of a file. */
export const exported = (chats) => JSON.stringify({ format: FORMAT, version: 1, chats }, null, 1);

export const isExport = (value) => value?.format === FORMAT;

/** The chats in a file that was exported, as new ones. What is not as it should be is left out. */
export const imported = (value) => objects(value.chats).filter((chat) => Array.isArray(chat.messages)).map(readChat).map(inOrder);

/** The first is the newest, as it was where they come from. */
const inOrder = (chat, place) => ({ ...chat, changed: chat.changed - place });

function readChat(chat) {
  return newChat({
    ...sameKind(CHAT_DEFAULTS, chat),
    samplers: Object.fromEntries(Object.keys(SAMPLERS).map((name) => [name, chat.samplers?.[name]]).filter(([, value]) => Number.isFinite(value))),
    tools: TOOL_CHOICES.includes(chat.tools) ? chat.tools : "",
    maxTokens: chat.maxTokens > 0 && Number.isInteger(chat.maxTokens) ? chat.maxTokens : null,
    character: typeof chat.character?.name === "string" ? readCharacter(chat.character) : null,
    messages: objects(chat.messages).map(readMessage).filter((message) => message.variants.length),
  });
}

function readCharacter(character) {
  const book = objects(character.book).map((entry) => ({ ...ENTRY, ...sameKind(ENTRY, entry), keys: texts(entry.keys), others: texts(entry.others) }));
  return { ...TEXTS, ...sameKind(TEXTS, character), avatar: PICTURE.test(character.avatar) ? character.avatar : "", book };
}

function readMessage(message) {
  const known = ROLES.includes(message.role);
  const variants = known ? objects(message.variants).map(readVariant) : [];
  const chosen = Number.isInteger(message.chosen) && message.chosen in variants ? message.chosen : 0;
  return { role: message.role, variants, chosen, ...(typeof message.call === "string" && { call: message.call }) };
}

function readVariant(variant) {
  const told = sameKind({ text: "", thought: "", problem: "", end: "" }, variant);
  const end = told.end === "writing" ? "stopped" : (told.end ?? "");
  return { ...newVariant(), ...told, end, calls: objects(variant.calls).filter(isCall) };
}

const isCall = (call) => [call.id, call.function?.name, call.function?.arguments].every((part) => typeof part === "string");

/** The texts, numbers and flags among `usual` that `given` has in the same type. */
function sameKind(usual, given) {
  const plain = Object.keys(usual).filter((name) => typeof usual[name] !== "object" && typeof given[name] === typeof usual[name]);
  return Object.fromEntries(plain.map((name) => [name, given[name]]));
}

const objects = (value) => (Array.isArray(value) ? value.filter((each) => each && typeof each === "object") : []);

const texts = (value) => (Array.isArray(value) ? value.filter((each) => typeof each === "string") : []);

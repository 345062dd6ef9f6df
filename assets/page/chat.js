// A chat: what belongs to it, what can be done with it, and the request it makes. No drawing, no network.

import { SCHEMA, TOOLS } from "./demos.js";
import { loreFor } from "./lorebook.js";

const LONGEST_TITLE = 48;

export const CHAT_DEFAULTS = {
  title: "",
  user: "You",
  character: null, // {name, about, avatar, closing, book}
  system: "",
  preset: "",
  samplers: {}, // what is set otherwise than in the preset
  maxTokens: null, // the server's own
  thinking: true,
  tools: "", // "auto" or "required": the demo's tools are offered
  schema: "", // the JSON schema that replies keep to
  messages: [], // {role, variants: [{text, thought, calls, figures, problem, end}], chosen, call}
};

/** A new chat with what is given; the rest is usual. */
export function newChat(given = {}) {
  return { ...structuredClone(CHAT_DEFAULTS), ...given, id: newId(), created: Date.now(), changed: Date.now() };
}

/** An id that no other chat has. Pages of other PCs have no crypto.randomUUID. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newMessage(role, ...texts) {
  return { role, variants: texts.map((text) => newVariant(text)), chosen: 0 };
}

export function newVariant(text = "") {
  return { text, thought: "", calls: [], figures: null, problem: "", end: "" };
}

/** The variant of a message that is shown and sent. */
export const shown = (message) => message.variants[message.chosen];

export const titleOf = (chat) => chat.title || chat.character?.name || firstWords(chat) || "Untitled chat";

/** Who speaks, by name. */
export function nameOf(chat, role) {
  if (role === "user") return chat.user || "You";
  return role === "tool" ? "Tool" : chat.character?.name || "Assistant";
}

/** A text with the names in it that cards leave open. */
export function withNames(chat, text) {
  return text
    .replace(/\{\{char\}\}|<BOT>/gi, () => nameOf(chat, "assistant"))
    .replace(/\{\{user\}\}|<USER>/gi, () => nameOf(chat, "user"))
    .replace(/\{\{\/\/[^}]*\}\}/g, "");
}

/** The body of the request that the chat makes next; `draft` is what the user has typed and not sent. */
export function requestOf(chat, presets, draft = "") {
  const messages = chat.messages.map(spoken).filter(Boolean);
  if (draft) messages.push({ role: "user", content: draft });
  const body = {
    messages: framed(chat, messages).map((each) => ({ ...each, content: withNames(chat, each.content) })),
    ...presets.find((preset) => preset.name === chat.preset)?.settings,
    ...chat.samplers,
    thinking: chat.thinking ? "show" : "off",
  };
  if (chat.maxTokens) body.max_tokens = chat.maxTokens;
  if (chat.character) body.stop = [`\n${nameOf(chat, "user")}:`];
  if (chat.tools) Object.assign(body, { tools: TOOLS, tool_choice: toolChoice(chat), parallel_tool_calls: false });
  if (chat.schema) body.response_format = { type: "json_schema", json_schema: { name: "reply", schema: parsed(chat.schema) } };
  return body;
}

/** A copy of the chat up to and with a message. */
export function branch(chat, message) {
  const { id, created, changed, ...rest } = structuredClone(chat);
  const messages = rest.messages.slice(0, chat.messages.indexOf(message) + 1);
  return newChat({ ...rest, messages, title: `${titleOf(chat)} (branch)` });
}

function firstWords(chat) {
  const words = chat.messages.find((message) => message.role === "user");
  const text = words ? shown(words).text.trim().replace(/\s+/g, " ") : "";
  return text.length > LONGEST_TITLE ? `${text.slice(0, LONGEST_TITLE)}…` : text;
}

function spoken(message) {
  const { text, calls } = shown(message);
  if (message.role === "tool") return { role: "tool", tool_call_id: message.call, content: text };
  if (message.role === "assistant" && calls.length) return { role: "assistant", content: text, tool_calls: calls };
  return text || message.role === "user" ? { role: message.role, content: text } : null;
}

/**
 * The messages in their frame. What changes from turn to turn (the lorebook) stands beside the last question, so that
 * all before it is in the server's cache.
 */
function framed(chat, messages) {
  const { always, now } = loreFor(chat.character?.book ?? [], messages.map((message) => message.content));
  const system = [chat.system, ...always].filter(Boolean).join("\n\n");
  const last = messages.findLastIndex((message) => message.role === "user");
  const [before, question, after] = [messages.slice(0, Math.max(last, 0)), messages.slice(Math.max(last, 0), last + 1), messages.slice(last + 1)];
  const note = (text) => (text ? [{ role: "system", content: text }] : []);
  return [...note(system), ...before, ...note(now.join("\n\n")), ...question, ...note(chat.character?.closing), ...after];
}

/** A model that must call does so once for each message; with the result it has to find words. */
function toolChoice(chat) {
  const answered = chat.messages.findLast((message) => message.role !== "assistant")?.role === "tool";
  return answered && chat.tools === "required" ? "none" : chat.tools;
}

function parsed(schema) {
  try {
    return JSON.parse(schema);
  } catch (error) {
    throw new Error(`The JSON schema in this chat's settings is not JSON: ${error.message}.`);
  }
}

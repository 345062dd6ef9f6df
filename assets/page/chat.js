// A chat: what belongs to it, what can be done with it, and the request it makes. No drawing, no network.

import { TOOLS } from "./demos.js";
import { loreFor } from "./lorebook.js";

const LONGEST_TITLE = 48;

/** The samplers that a chat may set otherwise than its preset, and within which limits. */
export const SAMPLERS = {
  temperature: { label: "Temperature", min: 0, max: 10 },
  top_k: { label: "Top-k", min: 0, max: 100_000 },
  top_p: { label: "Top-p", min: 0, max: 1 },
  min_p: { label: "Min-p", min: 0, max: 1 },
  rep_pen: { label: "Repetition penalty", min: 0.1, max: 10 },
  dry_multiplier: { label: "DRY", min: 0, max: 10 },
  xtc_probability: { label: "XTC", min: 0, max: 1 },
  seed: { label: "Seed", min: -1, max: 2 ** 32 - 1 },
};

export const CHAT_DEFAULTS = {
  title: "",
  user: "",
  character: null, // {name, about, avatar, closing, book}
  system: "",
  preset: "",
  samplers: {}, // what is set otherwise than in the preset
  maxTokens: null, // the server's own
  thinking: true,
  tools: "", // "auto" or "required": the demo's tools are offered
  schema: "", // the JSON schema that replies keep to
  messages: [], // {role, variants, chosen, call}; call is what a tool's result answers
};

/** A new chat with what is given; the rest is usual. */
export function newChat(given = {}) {
  return { ...structuredClone(CHAT_DEFAULTS), ...given, id: newId(), changed: Date.now() };
}

/** An id that no other chat has. Pages of other PCs have no crypto.randomUUID. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newMessage(role, ...texts) {
  return { role, variants: texts.map((text) => newVariant(text)), chosen: 0 };
}

/** One way a message was written. `end` is why it ended, `problem` what went wrong, `refused` whether for the key. */
export function newVariant(text = "") {
  return { text, thought: "", calls: [], figures: null, problem: "", refused: false, end: "" };
}

/** The variant of a message that is shown and sent. */
export const shown = (message) => message.variants[message.chosen];

/** The text of a message as people and the model read it. */
export function textOf(chat, message) {
  const { text } = shown(message);
  return chat.character && message.role === "assistant" ? withNames(chat, text) : text; // greetings have names in them
}

export const titleOf = (chat) => chat.title || chat.character?.name || firstWords(chat) || "Untitled chat";

/** Who speaks, by name. */
export function nameOf(chat, role) {
  if (role === "user") return chat.user || "You";
  return role === "tool" ? "Tool" : chat.character?.name || "Assistant";
}

/** The body of the request that the chat makes next; `draft` is what the user has typed and not sent. */
export function requestOf(chat, presets, draft = "") {
  const messages = chat.messages.map((message) => spoken(chat, message)).filter(Boolean);
  if (draft) messages.push({ role: "user", content: draft });
  const body = {
    ...presets.find((preset) => preset.name === chat.preset)?.settings,
    ...chat.samplers,
    thinking: chat.thinking ? "show" : "off",
    messages: framed(chat, messages),
  };
  if (chat.maxTokens) body.max_tokens = chat.maxTokens;
  if (chat.character) body.stop = [`\n${userIn(chat)}:`];
  if (chat.tools) Object.assign(body, { tools: TOOLS, tool_choice: toolChoice(chat), parallel_tool_calls: false });
  if (chat.schema) body.response_format = { type: "json_schema", json_schema: { name: "reply", schema: readSchema(chat.schema) } };
  return body;
}

/** A JSON schema that somebody wrote. Throws with a sentence. */
export function readSchema(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`The JSON schema in this chat's settings is not JSON: ${error.message}.`);
  }
}

/** A copy of the chat with these of its messages. */
export function branch(chat, messages) {
  return newChat(structuredClone({ ...chat, messages, title: `${titleOf(chat)} (branch)` }));
}

/** A text with the names in it that cards leave open, and without their comments. */
function withNames(chat, text) {
  return text
    .replace(/\{\{[Cc]har\}\}|<BOT>/g, () => nameOf(chat, "assistant"))
    .replace(/\{\{[Uu]ser\}\}|<USER>/g, () => userIn(chat))
    .replace(/\{\{\/\/[^}]*\}\}/g, "");
}

/** The user's name in texts, where "You" would read oddly. */
const userIn = (chat) => chat.user || "User";

function firstWords(chat) {
  const words = chat.messages.find((message) => message.role === "user");
  const text = words ? shown(words).text.trim().replace(/\s+/g, " ") : "";
  return text.length > LONGEST_TITLE ? `${text.slice(0, LONGEST_TITLE)}…` : text;
}

function spoken(chat, message) {
  const content = textOf(chat, message);
  const { calls } = shown(message);
  if (message.role === "tool") return { role: "tool", tool_call_id: message.call, content };
  if (calls.length) return { role: "assistant", content, tool_calls: calls };
  return content || message.role === "user" ? { role: message.role, content } : null;
}

/**
 * The messages in their frame. What changes from turn to turn (the lorebook) stands beside the last question, so that
 * all before it is in the server's cache.
 */
function framed(chat, messages) {
  const { always, now } = loreFor(chat.character?.book ?? [], messages.map((message) => message.content));
  const note = (...texts) => {
    const content = withNames(chat, texts.filter(Boolean).join("\n\n"));
    return content ? [{ role: "system", content }] : [];
  };
  const question = Math.max(messages.findLastIndex((message) => message.role === "user"), 0);
  const [before, asked, after] = [messages.slice(0, question), messages.slice(question, question + 1), messages.slice(question + 1)];
  return [...note(chat.system, ...always), ...before, ...note(...now), ...asked, ...note(chat.character?.closing), ...after];
}

/** A model that must call does so once for each message; with the result it has to find words. */
function toolChoice(chat) {
  const answered = chat.messages.findLast((message) => message.role !== "assistant")?.role === "tool";
  return answered && chat.tools === "required" ? "none" : chat.tools;
}

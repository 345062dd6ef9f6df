// One reply: from the request to the last of its words, with the calls of tools that it makes.

import { newMessage, newVariant, requestOf, shown } from "./chat.js";
import { runTool } from "./demos.js";
import * as server from "./server.js";

const MOST_ROUNDS = 4; // of calls and their results

/**
 * Have the chat's last message written, or gone on with. `changed` is called whenever it has grown. However it ends,
 * what was written stays; a problem stands in the variant.
 */
export async function writeReply(chat, presets, signal, changed) {
  for (let round = 0; ; round++) {
    const variant = shown(chat.messages.at(-1));
    await writeVariant(chat, variant, presets, signal, changed);
    if (variant.problem || signal.aborted || !variant.calls.length) return;
    if (round === MOST_ROUNDS - 1) {
      variant.end = "rounds";
      return;
    }
    for (const call of variant.calls) chat.messages.push({ ...newMessage("tool", runTool(call)), call: call.id });
    chat.messages.push(newMessage("assistant", ""));
    changed();
  }
}

/** A place for another reply: one more variant of the last, or a message of its own. */
export function makeRoom(chat) {
  const last = chat.messages.at(-1);
  if (last?.role !== "assistant") chat.messages.push(newMessage("assistant", ""));
  else if (shown(last).text || shown(last).thought || shown(last).calls.length) {
    last.variants.push(newVariant());
    last.chosen = last.variants.length - 1;
  }
}

async function writeVariant(chat, variant, presets, signal, changed) {
  const watch = { begun: performance.now(), first: 0, pieces: 0, calls: {} };
  Object.assign(variant, { problem: "", refused: false, end: "writing", figures: null });
  try {
    for await (const chunk of server.chat(requestOf(chat, presets), signal)) {
      take(variant, chunk, watch);
      changed();
    }
  } catch (error) {
    if (error.name === "AbortError") variant.end = "stopped";
    else Object.assign(variant, { problem: error.message, refused: error.status === 401 });
  }
  if (variant.end === "writing") variant.end = "";
  for (const call of variant.calls) call.id ||= `call_${chat.messages.length}`;
  changed();
}

function take(variant, chunk, watch) {
  const choice = chunk.choices[0];
  const delta = choice?.delta ?? {};
  variant.text += delta.content ?? "";
  variant.thought += delta.reasoning_content ?? "";
  for (const part of delta.tool_calls ?? []) takeCall(variant.calls, watch.calls, part);
  if (delta.content || delta.reasoning_content || delta.tool_calls) measure(variant, watch);
  if (choice?.finish_reason) variant.end = choice.finish_reason;
  if (chunk.timings) variant.figures = figuresOf(chunk, variant.figures?.first ?? 0);
}

/** `known` are the calls of this reply by the server's numbers, which may have gaps. */
function takeCall(calls, known, part) {
  if (!known[part.index]) {
    known[part.index] = { id: part.id, type: "function", function: { name: "", arguments: "" } };
    calls.push(known[part.index]);
  }
  const asked = known[part.index].function;
  asked.name += part.function?.name ?? "";
  asked.arguments += part.function?.arguments ?? "";
}

/** While it is written each piece counts as a token; the server counts them truly at the end. */
function measure(variant, watch) {
  const now = performance.now();
  watch.first ||= now;
  watch.pieces += 1;
  const seconds = (now - watch.first) / 1000;
  variant.figures = { first: (watch.first - watch.begun) / 1000, written: watch.pieces, speed: seconds ? (watch.pieces - 1) / seconds : 0 };
}

function figuresOf({ timings, usage }, first) {
  return {
    first,
    prompt: timings.prompt_n + timings.cache_n,
    cached: timings.cache_n,
    written: timings.predicted_n,
    speed: timings.predicted_per_second,
    left: usage?.trimmed?.messages ?? 0,
  };
}

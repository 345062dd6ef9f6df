// The server's API as this page uses it. All of it is public: see /docs.

const NOT_THERE = "The server does not answer. Is Tavernkeep running, with Start pressed?";
const BROKEN = "The reply broke off, because the server went away.";
const NOT_OURS = "What answers at this address is not Tavernkeep. Is something in between, such as a proxy?";

/** What went wrong, in words. `status` is the answer's, 0 if there was none. */
class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

let key = "";

/** The key that goes with every request from now on; "" for none. */
export function useKey(text) {
  key = String.fromCharCode(...new TextEncoder().encode(text)); // fetch takes no other letters in a header
}

/** What the server says of itself, also without a key: `{status, message, progress, model}`. */
export async function health() {
  const response = await send("health");
  if (response.status === 401) throw await refusal(response);
  const told = await response.json().catch(notOurs);
  return told.status ? told : notOurs();
}

/** The context in tokens and the template of the loaded model. */
export const props = () => ask("props");

/** `{presets: [{name, about, source, settings}], defaults}`: sampler presets, and what counts without one. */
export const samplerPresets = () => ask("api/extra/sampler_presets");

/** The exact prompt that the body of a chat makes, and its tokens. */
export const previewPrompt = (body) => ask("api/extra/preview_prompt", body);

/**
 * A streamed reply, chunk by chunk as OpenAI has them. Throws a ServerError when it is refused or breaks off, and an
 * AbortError when `signal` stops it.
 */
export async function* chat(body, signal) {
  const options = { stream: true, stream_options: { include_usage: true } };
  const response = await send("v1/chat/completions", { ...body, ...options }, signal);
  if (!response.ok) throw await refusal(response);
  let whole = false;
  for await (const data of events(response.body)) {
    whole = data === "[DONE]";
    const chunk = whole ? null : parsed(data);
    if (chunk?.error) throw new ServerError(chunk.error.message);
    if (chunk) yield chunk;
  }
  if (!whole) throw new ServerError(BROKEN);
}

async function ask(path, body) {
  const response = await send(path, body);
  if (!response.ok) throw await refusal(response);
  return response.json().catch(notOurs);
}

async function send(path, body, signal) {
  const options = { signal, cache: "no-store", headers: key ? { Authorization: `Bearer ${key}` } : {} };
  if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  try {
    return await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new ServerError(NOT_THERE);
  }
}

async function refusal(response) {
  const told = await response.json().catch(() => ({}));
  return new ServerError(told.error?.message ?? `The server answered with status ${response.status}.`, response.status);
}

/** The data of server-sent events. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch(broken);
      if (done) return;
      const frames = (text + value).split("\n\n");
      text = frames.pop();
      yield* frames.filter((frame) => frame.startsWith("data: ")).map((frame) => frame.slice("data: ".length));
    }
  } finally {
    reader.cancel().catch(() => {}); // an end before the last event leaves nothing running
  }
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return notOurs();
  }
}

function notOurs() {
  throw new ServerError(NOT_OURS);
}

function broken(error) {
  throw error.name === "AbortError" ? error : new ServerError(BROKEN);
}

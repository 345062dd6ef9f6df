// Whether the server is there and lets this page in, and what it has told.

import { memory, remember } from "./memory.js";
import * as server from "./server.js";

const LOOK_SECONDS = { ready: 5, else: 1.5 };

/** What the server has told: its sampler presets and defaults, and the context of its model in tokens. */
export const told = { presets: [], defaults: {}, context: 0 };

const line = document.getElementById("status");
const dialog = document.getElementById("key");
let model = ""; // the one that `told` is about
let refused = null; // the key that the server did not take last

/** Look at the server from now on. */
export async function watchServer() {
  server.useKey(memory.key);
  dialog.onclose = () => {
    if (dialog.returnValue === "use") takeKey();
  };
  for (;;) {
    const ready = await look();
    await new Promise((resolve) => setTimeout(resolve, 1000 * (ready ? LOOK_SECONDS.ready : LOOK_SECONDS.else)));
  }
}

/** Ask for the key, unless that is being done. */
export function askForKey() {
  if (dialog.open) return;
  dialog.querySelector("input").value = memory.key;
  dialog.querySelector(".problem").textContent = refused ? "The server does not take this key." : "";
  dialog.returnValue = "";
  dialog.showModal();
}

async function look() {
  try {
    const health = await server.health();
    if (!told.presets.length) Object.assign(told, await server.samplerPresets());
    const ready = health.status === "ready";
    if (ready && health.model !== model) told.context = (await server.props()).n_ctx;
    model = ready ? health.model : "";
    refused = null;
    say(health);
    return ready;
  } catch (error) {
    model = "";
    say(error.status === 401 ? { status: "locked" } : { status: "gone", message: error.message });
    if (error.status === 401 && refused !== memory.key) {
      refused = memory.key;
      askForKey();
    }
    return false;
  }
}

function say(health) {
  const words = {
    ready: `${health.model} · ${told.context} tokens of context`,
    loading: `The model loads: ${Math.round(100 * (health.progress ?? 0))} %`,
    idle: "No model is loaded. Press Start in Tavernkeep's window.",
    locked: "The server wants its key.",
  };
  const said = words[health.status] ?? health.message ?? `The server is ${health.status}.`;
  if (line.textContent === said) return; // or it would be read aloud again
  line.textContent = said;
  line.dataset.tone = { ready: "good", loading: "busy" }[health.status] ?? "bad";
}

function takeKey() {
  remember({ key: dialog.querySelector("input").value.trim() });
  server.useKey(memory.key);
}

// The dialog with a chat's settings. What is changed there counts at once.

import { readSchema, SAMPLERS } from "./chat.js";
import { template } from "./dom.js";

const TEXTS = ["title", "user", "system", "tools", "schema"];
const NAMES = Object.keys(SAMPLERS);

const dialog = document.getElementById("settings");
const form = dialog.querySelector("form");
const part = (selector) => dialog.querySelector(selector);
part("#samplers").append(...NAMES.map(samplerField));

/**
 * Show the settings of a chat; `told` is what the server has told. `changed` is called after each change, and `closed` at
 * the end, with the character if that was taken out of the chat.
 */
export function showSettings(chat, told, changed, closed) {
  let dropped = null;
  for (const name of TEXTS) form.elements[name].value = chat[name];
  form.elements.maxTokens.value = chat.maxTokens ?? "";
  form.elements.thinking.checked = chat.thinking;
  const names = told.presets.map((preset) => preset.name);
  form.elements.preset.replaceChildren(...names.map((name) => new Option(name, name, false, name === chat.preset)));
  for (const name of NAMES) form.elements[name].value = chat.samplers[name] ?? "";
  drawCharacter(chat.character);
  drawPreset(told);
  part(".problem").textContent = problem();
  form.oninput = () => {
    read(chat);
    drawPreset(told);
    part(".problem").textContent = problem();
    changed();
  };
  part("#drop-character").onclick = () => {
    dropped = chat.character;
    chat.character = null;
    drawCharacter(null);
    form.elements.system.focus();
    changed();
  };
  dialog.onclose = () => closed(dropped);
  dialog.showModal();
}

/** A number that is out of its limits is told, and does not count. */
function read(chat) {
  for (const name of TEXTS) chat[name] = form.elements[name].value;
  chat.preset = form.elements.preset.value || chat.preset; // there are none while the server is away
  chat.maxTokens = numberIn("maxTokens") ?? null;
  chat.thinking = form.elements.thinking.checked;
  const set = NAMES.map((name) => [name, numberIn(name)]).filter(([, value]) => value !== undefined);
  chat.samplers = Object.fromEntries(set);
}

function numberIn(name) {
  const field = form.elements[name];
  return field.value && field.validity.valid ? field.valueAsNumber : undefined;
}

/** The empty field of a sampler shows in grey what counts. */
function drawPreset(told) {
  const preset = told.presets.find((each) => each.name === form.elements.preset.value);
  part("#preset-about").textContent = preset?.about ?? "The server's presets are not there yet.";
  for (const name of NAMES) form.elements[name].placeholder = preset?.settings[name] ?? told.defaults[name] ?? "";
}

function samplerField(name) {
  const { label, min, max } = SAMPLERS[name];
  const field = template("sampler");
  field.querySelector("span").textContent = label;
  Object.assign(field.querySelector("input"), { name, min, max });
  return field;
}

function drawCharacter(character) {
  part("#character").hidden = !character;
  if (!character) return;
  part("#character .name").textContent = character.name;
  part("#character .about").textContent = character.about;
  part("#character .avatar").hidden = !character.avatar;
  if (character.avatar) part("#character .avatar").src = character.avatar;
}

function problem() {
  const wrong = [...form.querySelectorAll("input[type=number]")].find((field) => !field.validity.valid);
  if (wrong) {
    const limits = wrong.max ? `a number from ${wrong.min} to ${wrong.max}` : `a whole number, ${wrong.min} or more`;
    return `${wrong.closest("label").textContent.trim()}: it must be ${limits}.`;
  }
  try {
    if (form.elements.schema.value) readSchema(form.elements.schema.value);
    return "";
  } catch (error) {
    return error.message;
  }
}

// The dialog with a chat's settings. What is changed there counts at once.

import { template } from "./thread.js";

const NAMES = {
  temperature: "Temperature",
  top_k: "Top-k",
  top_p: "Top-p",
  min_p: "Min-p",
  rep_pen: "Repetition penalty",
  dry_multiplier: "DRY",
  xtc_probability: "XTC",
  seed: "Seed",
};

const dialog = document.getElementById("settings");
const form = dialog.querySelector("form");
const part = (selector) => dialog.querySelector(selector);

/** Show the settings of a chat; `told` has the sampler presets. `changed` is called after each change. */
export function showSettings(chat, told, changed) {
  for (const name of ["title", "user", "system", "tools", "schema"]) form.elements[name].value = chat[name];
  form.elements.maxTokens.value = chat.maxTokens ?? "";
  form.elements.thinking.checked = chat.thinking;
  const names = told.presets.map((preset) => preset.name);
  form.elements.preset.replaceChildren(...names.map((name) => new Option(name, name, false, name === chat.preset)));
  drawCharacter(chat);
  drawSamplers(chat, told);
  form.oninput = () => {
    read(chat);
    drawSamplers(chat, told);
    changed();
  };
  part("#drop-character").onclick = () => {
    chat.character = null;
    drawCharacter(chat);
    changed();
  };
  part(".problem").textContent = schemaProblem(chat.schema);
  dialog.showModal();
}

function read(chat) {
  for (const name of ["title", "user", "system", "tools", "schema"]) chat[name] = form.elements[name].value;
  chat.preset = form.elements.preset.value || chat.preset; // there are none while the server is away
  chat.maxTokens = Math.max(0, Math.floor(form.elements.maxTokens.valueAsNumber)) || null;
  chat.thinking = form.elements.thinking.checked;
  const fields = [...part("#samplers").querySelectorAll("input")].filter((field) => Number.isFinite(field.valueAsNumber));
  chat.samplers = Object.fromEntries(fields.map((field) => [field.name, field.valueAsNumber]));
  part(".problem").textContent = schemaProblem(chat.schema);
}

/** Each field is empty where the preset's value counts, which stands there in grey. */
function drawSamplers(chat, told) {
  const preset = told.presets.find((each) => each.name === form.elements.preset.value);
  part("#preset-about").textContent = preset?.about ?? "The server's presets could not be read.";
  const place = part("#samplers");
  if (!place.children.length) place.append(...Object.entries(NAMES).map(([name, label]) => samplerField(name, label)));
  for (const field of place.querySelectorAll("input")) {
    field.placeholder = preset?.settings[field.name] ?? told.defaults[field.name] ?? "";
    if (field !== document.activeElement) field.value = chat.samplers[field.name] ?? "";
  }
}

function samplerField(name, label) {
  const field = template("sampler");
  field.querySelector("span").textContent = label;
  field.querySelector("input").name = name;
  return field;
}

function drawCharacter(chat) {
  part("#character").hidden = !chat.character;
  if (!chat.character) return;
  part("#character .name").textContent = chat.character.name;
  part("#character .about").textContent = chat.character.about;
  part("#character .avatar").hidden = !chat.character.avatar;
  part("#character .avatar").src = chat.character.avatar;
}

function schemaProblem(schema) {
  try {
    if (schema) JSON.parse(schema);
    return "";
  } catch (error) {
    return `The schema is not JSON: ${error.message}.`;
  }
}

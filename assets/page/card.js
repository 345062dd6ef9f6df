// Character cards: PNG pictures that carry one, and JSON files, of versions 1, 2 and 3.
// Formats: https://github.com/malfoyslastname/character-card-spec-v2 and
// https://github.com/kwaroran/character-card-spec-v3

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const CARD_CHUNKS = ["ccv3", "chara"]; // the newest first
const LARGEST_FILE = 30 * 1024 * 1024;
const LONGEST_TEXT = 200_000;
const MOST_ENTRIES = 2000;
const AVATAR_SIDE = 160;
const INSTRUCTION = "Write {{char}}'s next reply in a conversation with {{user}}.";

/** A file that is no card, in words. */
export class CardError extends Error {}

export const isPng = (bytes) => PNG.every((byte, place) => bytes[place] === byte);

/** Whether a JSON value looks like a card. */
export function isCard(value) {
  return String(value?.spec).startsWith("chara_card") || (typeof value?.name === "string" && "first_mes" in value);
}

/**
 * What a card gives to a chat: `{character, system, greetings, notes}`. `notes` are sentences about what of it is not
 * used. Throws a CardError.
 */
export async function cardFromPng(file) {
  if (file.size > LARGEST_FILE) throw new CardError("The picture is larger than 30 MB, which no character card is.");
  const bytes = new Uint8Array(await file.arrayBuffer());
  const card = cardFromJson(await jsonInPng(bytes));
  card.character.avatar = await smallPicture(file);
  return card;
}

export function cardFromJson(value) {
  if (!isCard(value)) throw new CardError("There is no character in this file: it has neither a name nor a greeting.");
  const told = value.data ?? value; // version 1 has no data
  const name = text(told.nickname) || text(told.name);
  if (!name) throw new CardError("The character in this file has no name.");
  const { book, notes } = readBook(told.character_book);
  const character = { name, about: text(told.creator_notes), avatar: "", closing: filled(told.post_history_instructions), book };
  const greetings = [told.first_mes, ...list(told.alternate_greetings)].map(text).filter(Boolean);
  return { character, system: systemOf(told), greetings, notes };
}

function systemOf(told) {
  const parts = [
    filled(told.system_prompt) || INSTRUCTION,
    text(told.description),
    labelled("{{char}}'s personality", told.personality),
    labelled("Scenario", told.scenario),
    labelled("How {{char}} talks", text(told.mes_example).replace(/<START>/gi, "").trim()),
  ];
  return parts.filter(Boolean).join("\n\n");
}

/** An instruction of the card's own, in which {{original}} is the usual one. */
const filled = (value) => text(value).replace(/\{\{original\}\}/gi, INSTRUCTION);

const labelled = (label, value) => (text(value) ? `${label}: ${text(value)}` : "");

const text = (value) => (typeof value === "string" ? value.trim().slice(0, LONGEST_TEXT) : "");

const list = (value) => (Array.isArray(value) ? value : []);

const words = (value) => (typeof value === "string" ? value.split(",") : list(value)).map(text).filter(Boolean);

function readBook(book) {
  const all = Array.isArray(book?.entries) ? book.entries : Object.values(book?.entries ?? {}); // SillyTavern's own form
  const entries = all.slice(0, MOST_ENTRIES).filter((entry) => entry && typeof entry === "object" && entry.enabled !== false);
  const patterns = entries.filter((entry) => entry.use_regex === true && !entry.constant).length;
  const used = entries.filter((entry) => entry.use_regex !== true || entry.constant).map(readEntry);
  const notes = patterns ? [`Entries of its lorebook that look for patterns are left out: ${patterns}.`] : [];
  return { book: used.filter((entry) => entry.text && (entry.always || entry.keys.length)), notes };
}

function readEntry(entry) {
  return {
    keys: words(entry.keys ?? entry.key),
    others: entry.selective === true ? words(entry.secondary_keys ?? entry.keysecondary) : [],
    always: entry.constant === true,
    exact: entry.case_sensitive === true,
    order: Number(entry.insertion_order) || 0,
    text: text(entry.content).replace(/^@@.*\n?/gm, "").trim(), // version 3's directions to the program
  };
}

async function jsonInPng(bytes) {
  const chunks = textChunks(bytes);
  const there = CARD_CHUNKS.filter((keyword) => chunks.has(keyword));
  for (const keyword of there) {
    try {
      const packed = Uint8Array.from(atob(await chunks.get(keyword)()), (letter) => letter.charCodeAt(0));
      return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(packed));
    } catch {
      // An older version of the card may stand beside it.
    }
  }
  throw new CardError(
    there.length
      ? "The character in this picture is damaged. Download the card again."
      : "There is no character in this picture. Sites often show a copy without one: use their download button for the card.",
  );
}

/** A PNG's texts by their keywords, each as a function that reads it. */
function textChunks(bytes) {
  const found = new Map();
  const view = new DataView(bytes.buffer);
  for (let place = PNG.length; place + 8 <= bytes.length; ) {
    const length = view.getUint32(place);
    const kind = latin(bytes.subarray(place + 4, place + 8));
    const content = bytes.subarray(place + 8, place + 8 + length);
    const end = content.indexOf(0);
    if (kind in READERS && end > 0) found.set(latin(content.subarray(0, end)).toLowerCase(), () => READERS[kind](content.subarray(end + 1)));
    place += 12 + length;
  }
  return found;
}

/** How the text behind a chunk's keyword is packed: https://www.w3.org/TR/png-3/#11textinfo */
const READERS = {
  tEXt: latin,
  zTXt: (content) => inflated(content.subarray(1)),
  iTXt: (content) => {
    const start = content.indexOf(0, content.indexOf(0, 2) + 1) + 1; // behind the language and the translated keyword
    return content[0] ? inflated(content.subarray(start)) : latin(content.subarray(start));
  },
};

async function inflated(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  let text = "";
  for (let piece; !(piece = await reader.read()).done && text.length < LARGEST_FILE; ) text += latin(piece.value);
  return text;
}

function latin(bytes) {
  return new TextDecoder("latin1").decode(bytes);
}

/** The picture, small enough to keep; "" if the browser cannot draw it. */
async function smallPicture(file) {
  try {
    const picture = await createImageBitmap(file);
    const scale = AVATAR_SIDE / Math.min(picture.width, picture.height);
    const canvas = Object.assign(document.createElement("canvas"), { width: AVATAR_SIDE, height: AVATAR_SIDE });
    canvas.getContext("2d").drawImage(picture, (AVATAR_SIDE - picture.width * scale) / 2, 0, picture.width * scale, picture.height * scale);
    return canvas.toDataURL("image/webp", 0.85);
  } catch {
    return "";
  }
}

// A character's lorebook: which of its entries belong into the prompt now.

const LOOKS_BACK = 4; // messages
const MOST_LETTERS = 8000; // of what is put into one prompt

/**
 * The texts of the entries that always belong there, and of those whose keys occur in the last messages.
 * An entry is `{keys, others, always, exact, order, text}`; with `others`, one of those must occur as well.
 */
export function loreFor(book, texts) {
  const recent = texts.slice(-LOOKS_BACK).join("\n");
  const sorted = book.toSorted((one, other) => one.order - other.order);
  const always = sorted.filter((entry) => entry.always);
  const now = sorted.filter((entry) => !entry.always && occurs(entry, recent));
  return { always: bounded(always), now: bounded(now) };
}

function occurs(entry, text) {
  const fold = (words) => (entry.exact ? words : words.toLowerCase());
  const found = (keys) => keys.some((key) => fold(text).includes(fold(key)));
  return found(entry.keys) && (!entry.others.length || found(entry.others));
}

function bounded(entries) {
  let left = MOST_LETTERS;
  return entries.map((entry) => entry.text).filter((text) => (left -= text.length) >= 0);
}

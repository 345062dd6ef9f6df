// A character's lorebook: which of its entries belong into the prompt now.

const LOOKS_BACK = 4; // messages
const MOST_LETTERS = 12_000; // of what is put into one prompt

/**
 * The texts of the entries that always belong there, and of those whose keys occur in the last messages.
 * An entry is `{keys, others, always, exact, order, text}`; with `others`, one of those must occur as well.
 */
export function loreFor(book, texts) {
  const recent = texts.slice(-LOOKS_BACK).join("\n");
  let left = MOST_LETTERS;
  const fits = (entry) => entry.text.length <= left && ((left -= entry.text.length), true);
  const sorted = book.toSorted((one, other) => other.always - one.always || one.order - other.order);
  const used = sorted.filter((entry) => (entry.always || occurs(entry, recent)) && fits(entry));
  const textsWhere = (always) => used.filter((entry) => entry.always === always).map((entry) => entry.text);
  return { always: textsWhere(true), now: textsWhere(false) };
}

function occurs(entry, text) {
  const fold = (words) => (entry.exact ? words : words.toLowerCase());
  const found = (keys) => keys.some((key) => fold(text).includes(fold(key)));
  return found(entry.keys) && (!entry.others.length || found(entry.others));
}

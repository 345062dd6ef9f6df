// The little that this browser remembers beside the chats.

const NAME = "tavernkeep";

/** The key, the appearance, the chat that was open, and the user's name. This tab's own chat goes before another's. */
export const memory = { key: "", appearance: "", user: "", ...recall(localStorageOf), chat: recall(sessionStorageOf).chat ?? recall(localStorageOf).chat };

/** Only what changes is written: another tab may have changed the rest. */
export function remember(changes) {
  Object.assign(memory, changes);
  write(localStorageOf, { ...recall(localStorageOf), ...changes });
}

/** The chat that is open, for a reload of this tab and for new ones. */
export function rememberChat(chat) {
  remember({ chat });
  write(sessionStorageOf, { ...recall(sessionStorageOf), chat });
}

/** What was typed into a chat and not sent: it survives a reload of this tab. */
export const recallDraft = (chat) => recall(sessionStorageOf).drafts?.[chat] ?? "";

export function rememberDraft(chat, text) {
  const kept = recall(sessionStorageOf);
  write(sessionStorageOf, { ...kept, drafts: { ...kept.drafts, [chat]: text || undefined } });
}

// Browsers that keep nothing throw already when they are asked for the storage.
function localStorageOf() {
  return localStorage;
}

function sessionStorageOf() {
  return sessionStorage;
}

function recall(storage) {
  try {
    return JSON.parse(storage().getItem(NAME)) ?? {};
  } catch {
    return {};
  }
}

function write(storage, value) {
  try {
    storage().setItem(NAME, JSON.stringify(value));
  } catch {
    // It holds until the page is closed.
  }
}

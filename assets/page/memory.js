// The little that this browser remembers beside the chats.

const NAME = "tavernkeep";

/** The key, the appearance, the chat that was open, and the user's name. */
export const memory = { key: "", appearance: "", chat: "", user: "", ...recall() };

/** Only what changes is written: another tab may have changed the rest. */
export function remember(changes) {
  Object.assign(memory, changes);
  try {
    localStorage.setItem(NAME, JSON.stringify({ ...recall(), ...changes }));
  } catch {
    // Some private windows keep nothing; it holds until the page is closed.
  }
}

/** What was typed into a chat and not sent: it survives a reload of this tab. */
export function recallDraft(chat) {
  try {
    return sessionStorage.getItem(`${NAME} draft ${chat}`) ?? "";
  } catch {
    return "";
  }
}

export function rememberDraft(chat, text) {
  try {
    sessionStorage.setItem(`${NAME} draft ${chat}`, text);
  } catch {
    // As above.
  }
}

function recall() {
  try {
    return JSON.parse(localStorage.getItem(NAME));
  } catch {
    return {};
  }
}

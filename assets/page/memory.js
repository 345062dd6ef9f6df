// The little that this browser remembers beside the chats.

const NAME = "tavernkeep";

/** The key, the appearance, the chat that was open, and the user's name. */
export const memory = { key: "", appearance: "", chat: "", user: "You", ...recall() };

export function remember(changes) {
  Object.assign(memory, changes);
  try {
    localStorage.setItem(NAME, JSON.stringify(memory));
  } catch {
    // Some private windows keep nothing; it holds until the page is closed.
  }
}

function recall() {
  try {
    return JSON.parse(localStorage.getItem(NAME));
  } catch {
    return {};
  }
}

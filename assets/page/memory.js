// The little that this browser remembers beside the chats.

const NAME = "tavernkeep";

const local = () => localStorage; // throws already here where a browser keeps nothing
const session = () => sessionStorage;

/** The key, the appearance, the chat that was open, and the user's name. This tab's own chat goes before another's. */
export const memory = { key: "", appearance: "", user: "", ...recall(local), chat: recall(session).chat ?? recall(local).chat };

/** Only what changes is written: another tab may have changed the rest. */
export function remember(changes) {
  Object.assign(memory, changes);
  write(local, { ...recall(local), ...changes });
}

/** The chat that is open, for a reload of this tab and for new ones. */
export function rememberChat(chat) {
  remember({ chat });
  write(session, { ...recall(session), chat });
}

/** What was typed into a chat and not sent: it survives a reload of this tab. */
export const recallDraft = (chat) => recall(session).drafts?.[chat] ?? "";

export function rememberDraft(chat, text) {
  const kept = recall(session);
  write(session, { ...kept, drafts: { ...kept.drafts, [chat]: text || undefined } });
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

// What models write, drawn: paragraphs, code, emphasis, speech. Text only ever becomes text, never HTML.

const FENCE = /^[ \t]*(`{3,}|~{3,})[^\n`]*\n([\s\S]*?)(?:^[ \t]*\1[`~]*[ \t]*$|(?![\s\S]))/m;
const INLINE = new RegExp(
  [
    /`([^`\n]+)`/, // code
    /\*\*\*?(?!\s)([^*\n]+(?:\*(?!\*)[^*\n]+)*)(?<!\s)\*\*\*?/, // strong
    /\*(?![\s*])([^*\n]+?)(?<!\s)\*/, // emphasis; a star with a blank behind it begins a list or multiplies
    /("[^"\n]+"|„[^“\n]+“|“[^”\n]+”|«[^»\n]+»)/, // speech
  ].map((each) => each.source).join("|"),
);

/** The text in blocks, `{kind: "p" or "pre", text}`, each of which can be drawn by itself. */
export function blocksOf(text) {
  const blocks = [];
  let rest = text;
  for (let fence; (fence = FENCE.exec(rest)); rest = rest.slice(fence.index + fence[0].length)) {
    blocks.push(...paragraphs(rest.slice(0, fence.index)), { kind: "pre", text: fence[2].replace(/\n$/, "") });
  }
  return [...blocks, ...paragraphs(rest)];
}

/** A block as an element. */
export function drawn({ kind, text }) {
  if (kind === "pre") return code(text);
  const paragraph = document.createElement("p");
  addInline(paragraph, text);
  return paragraph;
}

/** It can be scrolled with the keyboard. */
function code(text) {
  const block = Object.assign(document.createElement("pre"), { tabIndex: 0 });
  block.append(element("code", text));
  return block;
}

function paragraphs(text) {
  const parts = text.split(/\n{2,}/).map((part) => part.replace(/^\n+/, "").trimEnd());
  return parts.filter(Boolean).map((part) => ({ kind: "p", text: part }));
}

function addInline(parent, text) {
  let rest = text;
  for (let found; (found = INLINE.exec(rest)); rest = rest.slice(found.index + found[0].length)) {
    const [, codeText, strong, emphasis, speech] = found;
    parent.append(rest.slice(0, found.index));
    if (codeText) parent.append(element("code", codeText));
    else if (speech) parent.append(spoken(speech));
    else {
      parent.append(element(strong ? "strong" : "em"));
      addInline(parent.lastChild, strong ?? emphasis);
    }
  }
  parent.append(rest);
}

/** Speech with its marks, which must not be taken for speech once more. */
function spoken(speech) {
  const span = element("span");
  span.className = "speech";
  span.append(speech[0]);
  addInline(span, speech.slice(1, -1));
  span.append(speech.at(-1));
  return span;
}

function element(name, text = "") {
  return Object.assign(document.createElement(name), { textContent: text });
}

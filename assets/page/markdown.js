// What models write, drawn: paragraphs, code, emphasis, speech. Text only ever becomes text, never HTML.

const FENCE = /^```([^\n`]*)\n([\s\S]*?)(?:\n```[ \t]*$|(?![\s\S]))/m;
const INLINE = /`([^`\n]+)`|\*\*(\S[^\n]*?)\*\*|\*([^*\n]+)\*|("[^"\n]+"|“[^”\n]+”)/;

/** The text as nodes. */
export function drawn(text) {
  const nodes = document.createDocumentFragment();
  let rest = text;
  for (let fence; (fence = FENCE.exec(rest)); rest = rest.slice(fence.index + fence[0].length)) {
    addParagraphs(nodes, rest.slice(0, fence.index));
    const code = element("code", fence[2]);
    nodes.append(Object.assign(element("pre"), { tabIndex: 0 }));
    nodes.lastChild.append(code);
  }
  addParagraphs(nodes, rest);
  return nodes;
}

function addParagraphs(nodes, text) {
  for (const paragraph of text.split(/\n{2,}/).map((each) => each.replace(/^\n+|\s+$/g, "")).filter(Boolean)) {
    nodes.append(element("p"));
    addInline(nodes.lastChild, paragraph);
  }
}

function addInline(parent, text) {
  let rest = text;
  for (let found; (found = INLINE.exec(rest)); rest = rest.slice(found.index + found[0].length)) {
    const [, code, strong, emphasis, speech] = found;
    parent.append(rest.slice(0, found.index));
    if (code) parent.append(element("code", code));
    else {
      parent.append(element(strong ? "strong" : emphasis ? "em" : "span"));
      if (speech) parent.lastChild.className = "speech";
      if (speech) addInside(parent.lastChild, speech);
      else addInline(parent.lastChild, strong ?? emphasis);
    }
  }
  parent.append(rest);
}

/** Speech with its marks, which must not be taken for speech once more. */
function addInside(parent, speech) {
  parent.append(speech[0]);
  addInline(parent, speech.slice(1, -1));
  parent.append(speech.at(-1));
}

function element(name, text = "") {
  return Object.assign(document.createElement(name), { textContent: text });
}

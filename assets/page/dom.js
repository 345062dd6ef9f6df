// Elements made from the page's templates, and put in order.

/** A copy of the first element in a <template> of the page. */
export function template(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** Make these an element's children. Those that stay where they are are not touched, or they would lose the focus. */
export function arrange(place, elements) {
  const wanted = new Set(elements);
  for (const child of [...place.children]) if (!wanted.has(child)) child.remove();
  elements.forEach((element, index) => {
    if (place.children[index] !== element) place.insertBefore(element, place.children[index] ?? null);
  });
}

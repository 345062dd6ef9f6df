/** A copy of the first element in a <template> of the page. */
export function template(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

// Elements, made and changed without ever parsing text as markup: what stores say is untrusted.

const SVG = "http://www.w3.org/2000/svg";

function furnish(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Make an element: attributes, `onevent` listeners, and children (nodes, or strings as text). */
export function el(tag, properties, ...children) {
  return furnish(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function svg(tag, properties, ...children) {
  return furnish(document.createElementNS(SVG, tag), properties, children);
}

/** Set a node's text, if it is another one: what does not change does not flicker. */
export function put(node, text) {
  const wanted = text === null || text === undefined ? "" : String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

/** Set an attribute if it is another one; null removes it. */
export function mark(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

/**
 * Make `parent`'s children those of `items`, by key: kept nodes stay themselves, so that focus,
 * selection and scroll survive. `make(item)` gives a node, `show(node, item)` brings it up to date.
 */
export function keyed(parent, items, keyOf, make, show) {
  const known = (parent.known ??= new Map());
  const wanted = new Set();
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    wanted.add(key);
    let node = known.get(key);
    if (!node) known.set(key, (node = make(item)));
    if (show) show(node, item);
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  for (const [key, node] of known) {
    if (!wanted.has(key)) {
      node.remove();
      known.delete(key);
    }
  }
}

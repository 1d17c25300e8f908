/** Builds DOM elements; text always goes in as text nodes, so that nothing a file or a server says becomes markup. */

/**
 * @param {string} tag Such as `button`; `svg` and `path` get the SVG namespace.
 * @param {Record<string, unknown>} attributes `on*` become listeners, `class` and `aria-*` attributes as they are.
 * @param {...(Node | string | null | undefined | false)} children Appended in order; nothing and false are left out.
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const svg = tag === "svg" || tag === "path" || tag === "circle" || tag === "line" || tag === "rect" || tag === "text" || tag === "g";
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child || child === ""));
  return element;
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

let announcing = 0;

/** Has a screen reader say one sentence. @param {string} sentence */
export function announce(sentence) {
  const place = byId("announce");
  place.textContent = "";
  clearTimeout(announcing);
  // Set in a later task: a reader says only what has changed.
  announcing = window.setTimeout(() => { place.textContent = sentence; }, 60);
}

/** Lets the browser save a text as a file. @param {string} name @param {string} type @param {BlobPart} content */
export function save(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

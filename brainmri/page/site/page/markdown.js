/** The Markdown of model cards as DOM: headings, paragraphs, lists, tables, bold, code and links. */

import { h } from "./dom.js";

const INLINE = /(\*\*[^*]+\*\*|`[^`]+`|\[[^\]]+\]\([^)\s]+\))/;

/** @param {string} text @param {number} deepest Level of the card's first heading. @returns {DocumentFragment} */
export function markdown(text, deepest = 2) {
  const out = document.createDocumentFragment();
  const lines = text.split(/\r?\n/);
  let at = 0;
  const while_ = (test) => {
    const start = at;
    while (at < lines.length && test(lines[at])) at++;
    return lines.slice(start, at);
  };
  while (at < lines.length) {
    const line = lines[at];
    const heading = /^(#{1,5}) (.+)$/.exec(line);
    if (heading) {
      at++;
      out.append(h(`h${Math.min(6, heading[1].length + deepest - 1)}`, {}, ...inline(heading[2])));
    } else if (line.startsWith("|")) {
      out.append(table(while_((one) => one.startsWith("|"))));
    } else if (/^[-*] /.test(line)) {
      out.append(h("ul", {}, ...while_((one) => /^[-*] /.test(one)).map((one) => h("li", {}, ...inline(one.slice(2))))));
    } else if (line.trim() === "" || /^!\[/.test(line)) {
      // Figures are files of the bundle, which no route serves.
      at++;
    } else {
      const paragraph = while_((one) => one.trim() !== "" && !/^(#|\||[-*] |!\[)/.test(one));
      // A line that only looks like the start of something else.
      out.append(h("p", {}, ...inline((paragraph.length ? paragraph : [lines[at++]]).join(" "))));
    }
  }
  return out;
}

function table(lines) {
  const cells = (line) => line.replace(/^\||\|\s*$/g, "").split("|").map((cell) => cell.trim());
  const [head, , ...rows] = lines.map(cells);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${head.filter(Boolean).join(", ")}` },
    h("table", { class: "plain" }, h("thead", {}, h("tr", {}, ...head.map((cell) => (cell ? h("th", { scope: "col" }, ...inline(cell)) : h("td", {}))))),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell, place) => (place ? h("td", {}, ...inline(cell)) : h("th", { scope: "row" }, ...inline(cell)))))))));
}

function inline(text) {
  return text.split(INLINE).filter(Boolean).map((part) => {
    if (part.startsWith("**")) return h("strong", {}, part.slice(2, -2));
    if (part.startsWith("`")) return h("code", {}, part.slice(1, -1));
    const link = /^\[([^\]]+)\]\(([^)\s]+)\)$/.exec(part);
    if (link) return /^https?:/.test(link[2]) ? h("a", { href: link[2], rel: "noreferrer" }, link[1]) : link[1];
    return part;
  });
}

/** How a model did in its evaluation: figures with their intervals, confusion matrix, reliability. */

import { h } from "./dom.js";
import { exact, nameOf } from "./words.js";

const TUMOURS = "Tumours of another source";
const EXTERNAL = { br35h: `${TUMOURS}, found`, br35h_unseen: `${TUMOURS}, found by a network that saw none of it` };

/**
 * @param {any} figures Of `/model`; null where the release has none.
 * @param {string[]} labels The model's classes, in the order of the confusion matrix.
 * @returns {HTMLElement[]}
 */
export function figureCards(figures, labels) {
  if (!figures) return [];
  const { person, reliability } = figures;
  return [
    h("section", { class: "card" }, h("h3", {}, "How it did on people it had not seen"), intervals(figures, labels),
      h("p", { class: "hint" }, "Each line spans the 95 % interval around the figure; people and groups of near-duplicates are drawn whole.")),
    h("section", { class: "card" }, h("h3", {}, "Which classes it takes for which"), confusion(person.confusion, labels),
      h("p", { class: "hint" }, `${person.images} slices of people of whom no slice was trained on, by true class and most probable class.`)),
    ...(reliability.length ? [h("section", { class: "card" }, h("h3", {}, "Whether its percentages can be trusted"), reliable(reliability),
      h("p", { class: "hint" }, "Each point stands for slices of similar confidence. On the line, it is right as often as it is sure; below, less often."), bins(reliability))] : []),
  ];
}

/** @returns {[string, number, number, [number, number]][]} Name, images, share, and its interval. */
function rowsOf({ person, external, normal }, labels) {
  return [
    ["Macro-F1", person.images, person.macro_f1, person.macro_f1_ci95],
    ["Right", person.images, person.accuracy, person.accuracy_ci95],
    ...labels.map((label) => {
      const { support, recall, recall_ci95: ends } = person.per_class[label];
      return [`${nameOf(label)}, recognised`, support, recall, ends];
    }),
    ...Object.entries(external).map(([name, one]) => [EXTERNAL[name] ?? `Tumours of ${name}, found`, one.images, one.found, one.found_ci95]),
    ...(normal ? [["Slices without a tumour, one of each group, called so", normal.images, normal.called_notumor, normal.called_notumor_ci95]] : []),
  ];
}

function intervals(figures, labels) {
  return scrolled("Figures of the evaluation", h("table", { class: "plain" }, head(["Figure", "From 0 to 100 %", "Share", "95 % interval", "Slices"]),
    h("tbody", {}, ...rowsOf(figures, labels).map(([name, images, share, [low, high]]) => h("tr", {}, h("th", { scope: "row" }, name),
      h("td", {}, strip(share, low, high)),
      ...[exact(share), `${exact(low)} to ${exact(high)}`, String(images)].map((text) => h("td", { class: "number whole" }, text)))))));
}

/** A dot on a line from 0 to 1, with the interval around it; the cells beside it tell the numbers. */
function strip(share, low, high) {
  const x = (value) => 4 + 152 * value;
  return h("svg", { viewBox: "0 0 160 20", class: "plot strip", "aria-hidden": "true" },
    h("line", { class: "grid", x1: x(0), x2: x(1), y1: 10, y2: 10 }), ...[0, 0.5, 1].map((at) => h("line", { class: "grid", x1: x(at), x2: x(at), y1: 5, y2: 15 })),
    h("line", { class: "interval", x1: x(low), x2: x(high), y1: 10, y2: 10 }), h("circle", { class: "point", cx: x(share), cy: 10, r: 4 }));
}

function confusion(counts, labels) {
  const rows = counts.map((row, number) => {
    const all = Math.max(1, row.reduce((sum, count) => sum + count, 0));
    return h("tr", {}, h("th", { scope: "row" }, nameOf(labels[number])), ...row.map((count) => {
      const cell = h("td", { class: "number shaded" }, String(count));
      cell.style.setProperty("--share", String(count / all));
      return cell;
    }));
  });
  return scrolled("Confusion matrix", h("table", { class: "plain" }, h("caption", {}, "True class by row, most probable class by column"), head(["", ...labels.map(nameOf)]), h("tbody", {}, ...rows)));
}

function reliable(points) {
  const side = 220;
  const x = (value) => 44 + side * value;
  const y = (value) => 10 + side * (1 - value);
  const ticks = [0, 0.25, 0.5, 0.75, 1].flatMap((at) => [
    h("line", { class: "grid", x1: x(at), x2: x(at), y1: y(0), y2: y(1) }), h("line", { class: "grid", x1: x(0), x2: x(1), y1: y(at), y2: y(at) }),
    h("text", { x: x(at), y: y(0) + 18, "text-anchor": "middle" }, `${100 * at}`), h("text", { x: x(0) - 6, y: y(at) + 4, "text-anchor": "end" }, `${100 * at}`)]);
  const path = points.map((point) => `${x(point.confidence).toFixed(1)} ${y(point.accuracy).toFixed(1)}`).join("L");
  return h("svg", { viewBox: "0 0 280 274", class: "plot square", role: "img", "aria-label": `Reliability: how often the answer is right, by how sure it is, at ${points.length} levels; the table below has the numbers` },
    ...ticks, h("line", { class: "diagonal", x1: x(0), x2: x(1), y1: y(0), y2: y(1) }), h("path", { class: "curve", d: `M${path}` }),
    ...points.map((point) => h("circle", { class: "point", cx: x(point.confidence), cy: y(point.accuracy), r: 4 })),
    h("text", { x: x(0.5), y: 268, "text-anchor": "middle" }, "sure, %"), h("text", { x: 12, y: y(0.5), "text-anchor": "middle", transform: `rotate(-90 12 ${y(0.5)})` }, "right, %"));
}

function bins(points) {
  return h("details", { class: "details" }, h("summary", {}, "These points as a table"), scrolled("Reliability", h("table", { class: "plain" }, head(["Sure", "Right", "Slices"]),
    h("tbody", {}, ...points.map(({ confidence, accuracy, images }) => h("tr", {}, h("th", { scope: "row", class: "number" }, exact(confidence)), h("td", { class: "number" }, exact(accuracy)), h("td", { class: "number" }, String(images))))))));
}

const head = (names) => h("thead", {}, h("tr", {}, ...names.map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {})))));

/** A table that scrolls by itself where the window is narrow. */
const scrolled = (name, table) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table);

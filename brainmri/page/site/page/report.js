/** A report as one file: pictures, verdicts and numbers, with everything inside, to read, print or keep. */

import { config, host, offers } from "./api.js";
import { h, save } from "./dom.js";
import { heatOf } from "./heat.js";
import { pictureOf } from "./pictures.js";
import { bars } from "./result.js";
import { UNANSWERED, counted, errorWords, inWords, likeliest, nameOf, ranked, shortVerdict } from "./words.js";

const SIDE = 420;
/** Each is asked of the server, one after the other. */
const MOST_MAPS = 50;
const MAP_OPACITY = 0.6;

const STYLE = `
  body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #16202e; font: 1rem/1.5 system-ui, "DejaVu Sans", sans-serif; }
  h1, h2, p, figure { margin: 0 0 0.6rem; } ul { list-style: none; margin: 0; padding: 0; }
  .notice { padding: 0.6rem 1rem; border: 2px solid #b98500; background: #fff4d9; }
  article { display: grid; grid-template-columns: 15rem 1fr; gap: 1.5rem; padding: 1.2rem 0; border-top: 1px solid #c9d1dc; break-inside: avoid; }
  img { width: 100%; background: #000; } .quiet { color: #4c5a6d; font-size: 0.9rem; overflow-wrap: anywhere; }
  table { width: 100%; border-collapse: collapse; margin: 1rem 0; } th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid #c9d1dc; text-align: left; }
  .number { text-align: right; } .bar { display: grid; grid-template-columns: 10rem 1fr 4rem; gap: 0.8rem; align-items: center; }
  .track { height: 0.7rem; background: #e6ebf2; } .track i { display: block; height: 100%; background: #5b82bd; } .likely { font-weight: 700; }
  .bar-share { text-align: right; } @media (max-width: 40rem) { article { grid-template-columns: 1fr; } .bar { grid-template-columns: 1fr auto; } .track { grid-column: 1 / -1; } }
  @media print { body { margin: 0; } .track i { print-color-adjust: exact; } }`;

/**
 * Saves a report of answers.
 *
 * @param {import("./uploads.js").Item[]} items At least one.
 * @param {string} notice What may be done with it.
 * @param {any} model As `/models` lists it, whose heat maps are shown; null asks the default.
 */
export async function saveReport(items, notice, model) {
  const report = document.implementation.createHTMLDocument("Brain-MRI classifier: report");
  report.documentElement.lang = "en";
  report.head.append(h("meta", { charset: "utf-8" }), h("meta", { name: "viewport", content: "width=device-width" }));
  report.body.append(...heading(items, notice), ...(items.length > 1 ? [overview(items)] : []));
  const explained = new Set(offers("explain") ? items.filter((item) => item.state === "done").slice(0, MOST_MAPS) : []);
  for (const item of items) report.body.append(await chapter(item, explained.has(item) ? model : undefined));
  // As text, because the content policy of this page forbids inline styles, also in a document that it makes.
  const styled = report.documentElement.outerHTML.replace("</head>", () => `<style>${STYLE}</style></head>`);
  save("report.html", "text/html", `<!doctype html>\n${styled}`);
}

function heading(items, notice) {
  const answered = items.filter((item) => item.state === "done");
  const models = [...new Set(answered.flatMap((item) => item.answers.map(({ answer: { model } }) => `${model.name} ${model.version}, ${model.runtime}`)))];
  const now = new Date().toLocaleString(undefined, { dateStyle: "long", timeStyle: "short" });
  return [h("h1", {}, "What the model said"), h("p", { class: "notice" }, notice),
    h("p", {}, `${counted(items.length, "image")}, ${answered.length} answered, on ${now} by ${host()} (brainmri ${config.version}).`),
    h("p", {}, models.length ? `Model: ${models.join("; ")}.` : "No model answered.")];
}

function overview(items) {
  const totals = new Map();
  for (const item of items) {
    const verdict = item.state === "done" ? shortVerdict(item.answer) : "No answer";
    totals.set(verdict, (totals.get(verdict) ?? 0) + 1);
  }
  const rows = [...totals].sort((one, other) => other[1] - one[1]).map(([verdict, count]) => h("tr", {}, h("th", { scope: "row" }, verdict), h("td", { class: "number" }, String(count))));
  return h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Verdict"), h("th", { scope: "col", class: "number" }, "Images"))), h("tbody", {}, ...rows));
}

/** @param {any} model Whose heat map is shown; none if undefined. */
async function chapter(item, model) {
  const picture = await pictureOf(item);
  const image = picture ? h("img", { src: small(picture), alt: `The image ${item.name}` }) : h("p", { class: "quiet" }, "No preview");
  const heat = picture && model !== undefined ? await heatFigure(item, picture, model) : null;
  const name = h("p", { class: "quiet" }, item.name);
  if (item.state !== "done") {
    const { title, message } = errorWords(item.failure ?? UNANSWERED);
    return h("article", {}, h("div", {}, image), h("div", {}, name, h("h2", {}, `${title}.`), h("p", {}, message)));
  }
  const words = inWords(item.answer);
  const others = item.answers.slice(1).map(({ answer }) => h("p", { class: "quiet" },
    `${answer.model.name} ${answer.model.version}: ${shortVerdict(answer)} (${likeliest(answer)})`));
  const { novelty, in_distribution: known, request_id: request } = item.answer;
  const measured = novelty === null ? "" : `Distance from the training slices ${novelty.toFixed(2)}${known ? "" : ", farther than slices are"}. `;
  return h("article", {}, h("div", {}, image, heat), h("div", {}, name, h("h2", {}, words.sentence), h("p", {}, words.more), bars(item.answer), ...others,
    h("p", { class: "quiet" }, `${measured}Answered ${new Date(item.askedAt).toLocaleString()}; request ${request}.`)));
}

/** Where the network looked for the most probable class; a sentence if there is no map. */
async function heatFigure(item, picture, model) {
  const [[label]] = ranked(item.answer);
  try {
    const map = await heatOf(item, label, model);
    return h("figure", {}, h("img", { src: small(picture, map), alt: `Heat map for ${nameOf(label).toLowerCase()} over ${item.name}` }),
      h("figcaption", { class: "quiet" }, `Bright parts weighed most for ${nameOf(label).toLowerCase()}. This does not outline a tumour.`));
  } catch (error) {
    return error.code === "heat_map_unavailable" ? null : h("p", { class: "quiet" }, `No heat map: ${error.message}`);
  }
}

/** @param {HTMLCanvasElement} picture @param {HTMLCanvasElement} [map] Of the square around the picture. @returns {string} A `data:` URL. */
function small(picture, map) {
  const scale = Math.min(1, SIDE / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (map) {
    const side = Math.max(canvas.width, canvas.height);
    context.globalAlpha = MAP_OPACITY;
    context.drawImage(map, (canvas.width - side) / 2, (canvas.height - side) / 2, side, side);
  }
  return canvas.toDataURL("image/jpeg", 0.85);
}

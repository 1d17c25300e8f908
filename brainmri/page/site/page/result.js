/** The answer for one image: the picture, one sentence, four bars, where the network looked, and the details. */

import { offers } from "./api.js";
import { announce, h } from "./dom.js";
import { feedback } from "./feedback.js";
import { heatOf } from "./heat.js";
import { pictureOf } from "./pictures.js";
import { savePdf } from "./server_report.js";
import { Viewer } from "./viewer.js";
import { columnsOf, errorWords, exact, inWords, labelsOf, nameOf, ranked, shortVerdict } from "./words.js";

const SIGNS = {
  sure: "M5 12.5l4.5 4.5L19 7.5",
  unsure: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4m0 3.2v.1",
  foreign: "M6 6l12 12M18 6L6 18",
  failed: "M12 6v8m0 3.4v.1",
};

export class Result {
  #host;
  #uploads;
  #report;
  #viewer = new Viewer();
  #text = h("div", { class: "answer", tabindex: "-1" });
  #heat = h("div", { class: "heat", hidden: true });
  #frames = h("div", { class: "frames", hidden: true });
  #item = null;
  #drawnAs = "";
  #toldAs = "";

  /** @param {HTMLElement} host @param {import("./uploads.js").Uploads} uploads @param {(item: any) => void} report Saves a report of one image. */
  constructor(host, uploads, report) {
    this.#report = report;
    this.#host = host;
    this.#uploads = uploads;
    host.append(this.#viewer.stage, this.#text, h("div", { class: "below" }, this.#frames, this.#heat, this.#viewer.tools));
    uploads.addEventListener("change", (event) => { if (event.detail === this.#item) this.#update(); });
    uploads.addEventListener("pause", () => { if (this.#item) this.#update(); });
  }

  /** @returns {import("./uploads.js").Item | null} */
  get item() {
    return this.#item;
  }

  /** @param {import("./uploads.js").Item | null} item None hides it. */
  show(item) {
    this.#host.hidden = !item;
    if (item === this.#item) return;
    this.#item = item;
    this.#drawnAs = this.#toldAs = "";
    this.#viewer.reset();
    if (item) this.#update();
  }

  #update() {
    const item = this.#item;
    this.#host.dataset.state = item.state;
    this.#tell(item);
    this.#buildFrames(item);
    this.#buildHeat(item);
    this.#drawPicture(item);
  }

  /** Writes the answer anew only if it is another one, so that what a person has opened or reached stays. */
  #tell(item) {
    const as = [item.id, item.state, item.answer?.request_id, item.failure?.message, item.state !== "done" && this.#uploads.pause !== null].join(" ");
    if (as === this.#toldAs) return;
    this.#toldAs = as;
    const inside = this.#text.contains(document.activeElement);
    this.#text.replaceChildren(...this.#content(item).filter(Boolean));
    if (inside) this.#text.focus({ preventScroll: true });
    if (item.state === "done") announce(`${item.name}: ${inWords(item.answer).sentence}`);
    if (item.state === "failed") announce(`${item.name}: ${errorWords(item.failure).title}.`);
  }

  async #drawPicture(item) {
    const as = `${item.id} ${item.frame} ${item.state === "done" && item.answer.image?.bits}`;
    if (as === this.#drawnAs) return;
    this.#drawnAs = as;
    const picture = await pictureOf(item);
    if (item !== this.#item || as !== this.#drawnAs) return;
    this.#viewer.show(picture, item.name);
    this.#viewer.stage.classList.toggle("blank", !picture);
    this.#showHeat();
  }

  #content(item) {
    const name = h("p", { class: "file-name" }, item.name);
    if (item.state === "failed") {
      const { title, message } = errorWords(item.failure);
      const again = h("button", { type: "button", onclick: () => this.#uploads.again([item]) }, "Try again");
      return [name, sentence("failed", `${title}.`), h("p", { class: "more" }, message), h("div", { class: "buttons" }, again)];
    }
    if (item.state !== "done") {
      const busy = this.#uploads.pause ? "Waiting for the server; it goes on by itself." : "Looking at the slice …";
      // Beside the table of several images stands one for all of them.
      const stop = this.#uploads.items.length === 1 && h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => this.#uploads.cancel() }, "Stop"));
      return [name, h("p", { class: "sentence pending" }, h("span", { class: "spinner", "aria-hidden": "true" }), busy), stop];
    }
    const words = inWords(item.answer);
    return [name, sentence(words.tone, words.sentence), h("p", { class: "more" }, words.more), bars(item.answer),
      ...(item.answers.length > 1 ? [comparison(item.answers)] : []), details(item),
      feedback(item), ...this.#saving(item)];
  }

  #saving(item) {
    const told = h("p", { class: "hint told", role: "status" });
    const pdf = h("button", { type: "button", onclick: () => savePdf([item], this.#uploads.models[0] ?? null, told) }, "Report as PDF");
    return [h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => this.#report(item) }, "Save a report"), offers("report") && pdf), told];
  }

  #buildFrames(item) {
    const count = item.answer?.image?.frames ?? 1;
    this.#frames.hidden = !(count > 1 && offers("frames"));
    if (this.#frames.hidden || this.#frames.contains(document.activeElement)) return;
    const now = item.answer.image.frame ?? 0;
    const shown = h("output", {}, `${now + 1} of ${count}`);
    const slider = h("input", { type: "range", min: "0", max: String(count - 1), value: String(now), "aria-label": "Frame",
      oninput: (event) => { shown.textContent = `${Number(event.target.value) + 1} of ${count}`; },
      onchange: (event) => { item.frame = Number(event.target.value); this.#uploads.again([item]); } });
    this.#frames.replaceChildren(h("label", { class: "range" }, h("span", {}, "Frame"), slider), shown);
  }

  #buildHeat(item) {
    const able = offers("explain") && item.state === "done";
    this.#heat.hidden = !able;
    if (!able || this.#heat.dataset.item === this.#heatKey(item)) return;
    this.#heat.dataset.item = this.#heatKey(item);
    const on = h("input", { type: "checkbox", role: "switch", id: "heat-on", onchange: () => this.#showHeat() });
    const label = h("select", { id: "heat-label", onchange: () => this.#showHeat() },
      ...ranked(item.answer).map(([one]) => h("option", { value: one }, nameOf(one))));
    const opacity = h("input", { type: "range", min: "0", max: "100", value: "60", "aria-label": "Opacity of the heat map",
      oninput: (event) => this.#viewer.setOpacity(Number(event.target.value) / 100) });
    this.#viewer.setOpacity(0.6);
    this.#heat.replaceChildren(
      h("label", { class: "switch" }, on, h("span", {}, "Show where the network looked")),
      h("div", { class: "heat-more", hidden: true }, h("label", { class: "range" }, h("span", {}, "for"), label),
        h("label", { class: "range" }, h("span", {}, "Opacity"), opacity),
        h("p", { class: "ramp" }, h("span", {}, "little"), h("i", { "aria-hidden": "true" }), h("span", {}, "much")),
        h("p", { class: "hint" }, "Bright parts weighed most for this class. It does not outline a tumour.")),
      h("p", { class: "hint heat-state" }));
  }

  #heatKey(item) {
    return `${item.id} ${item.frame} ${item.answer?.request_id}`;
  }

  async #showHeat() {
    const item = this.#item;
    const on = this.#heat.querySelector("#heat-on");
    if (!on || !item) return;
    const state = this.#heat.querySelector(".heat-state");
    this.#heat.querySelector(".heat-more").hidden = !on.checked;
    if (!on.checked) {
      state.textContent = "";
      this.#viewer.setHeat(null);
      return;
    }
    const label = this.#heat.querySelector("#heat-label").value;
    state.textContent = "Asking the server …";
    try {
      const map = await heatOf(item, label, this.#uploads.models[0] ?? null);
      if (item !== this.#item || !on.checked || this.#heat.querySelector("#heat-label")?.value !== label) return;
      this.#viewer.setHeat(map);
      state.textContent = "";
    } catch (error) {
      if (item !== this.#item) return;
      this.#viewer.setHeat(null);
      state.textContent = error.code === "heat_map_unavailable" ? "This model has no heat map." : `No heat map: ${error.message}`;
    }
  }
}

/** Says which values became black and white, where they are not those of the file. */
const scaled = (scaling) => scaling && scaling.rule !== "as_stored" && `black is ${scaling.low}, white ${scaling.high}`;

function sentence(tone, words) {
  const sign = h("svg", { viewBox: "0 0 24 24", class: "sign", "aria-hidden": "true" }, h("path", { d: SIGNS[tone] }));
  return h("h2", { class: `sentence ${tone}` }, sign, h("span", {}, words));
}

/** @param {any} answer The body of `/predict`. @returns {HTMLElement} */
export function bars(answer) {
  const [[likely]] = ranked(answer);
  const muted = answer.verdict === "not_a_brain_mri";
  const rows = Object.entries(answer.probabilities).map(([label, share]) => {
    const fill = h("i", {});
    fill.style.width = `${share * 100}%`;
    return h("li", { class: label === likely && !muted ? "bar likely" : "bar" }, h("span", { class: "bar-name" }, nameOf(label)),
      h("span", { class: "track", "aria-hidden": "true" }, fill), h("span", { class: "bar-share" }, exact(share)));
  });
  return h("ul", { class: muted ? "bars muted" : "bars", "aria-label": "Probability of each class" }, ...rows);
}

function comparison(answers) {
  const columns = columnsOf(labelsOf(answers.map(({ answer }) => answer)));
  const head = h("tr", {}, h("th", { scope: "col" }, "Model"), h("th", { scope: "col" }, "Answer"), ...columns.map(({ name }) => h("th", { scope: "col", class: "number" }, name)));
  const rows = answers.map(({ model, answer }) => h("tr", {}, h("th", { scope: "row" }, `${model.name} ${model.version}`), h("td", {}, shortVerdict(answer)),
    ...columns.map(({ text }) => h("td", { class: "number" }, text(answer)))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Models side by side" },
    h("table", { class: "plain" }, h("caption", {}, "Models side by side"), h("thead", {}, head), h("tbody", {}, ...rows)));
}

function details(item) {
  const { answer } = item;
  const novel = answer.in_distribution === null ? "The model does not measure it."
    : `${answer.in_distribution ? "Yes" : "No"}; its distance from the training slices is ${answer.novelty.toFixed(2)} (1 is the middle of them).`;
  const { decode, queue, inference, total } = answer.timings_ms;
  const image = answer.image ?? {};
  const entries = [
    ["Looks like a brain MRI", novel],
    ["Label", answer.label === null ? "none: the service abstains" : nameOf(answer.label)],
    ["Model", `${answer.model.name} ${answer.model.version}, ${answer.model.runtime}`],
    ["Time on the server", `${total.toFixed(0)} ms: ${decode.toFixed(0)} to decode, ${queue.toFixed(0)} waiting, ${inference.toFixed(0)} in the network`],
    ["Image", [image.bits && `${image.bits} bits`, image.frames > 1 && `frame ${image.frame + 1} of ${image.frames}`, scaled(image.scaling)].filter(Boolean).join(", ")],
    ["Request", answer.request_id],
  ];
  const list = entries.filter(([, value]) => value).flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]);
  return h("details", { class: "details" }, h("summary", {}, "Details"), h("dl", {}, ...list));
}

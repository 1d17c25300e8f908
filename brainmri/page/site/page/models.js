/** The models: which one answers, and a page about each. */

import { Failure, json } from "./api.js";
import { byId, h } from "./dom.js";
import { figureCards } from "./figures.js";
import { markdown } from "./markdown.js";
import { exact, nameOf } from "./words.js";

const ALL = "all";

/**
 * Fills the choice of models; hidden while there is but one.
 *
 * @param {(models: any[]) => void} choose Gets the models to ask; none for the default.
 */
export async function offerModels(choose) {
  const { models } = await json("models");
  const select = byId("model-select");
  byId("model-choice").hidden = models.length < 2;
  select.replaceChildren(...models.map((model, place) => h("option", { value: place }, `${model.name} ${model.version}${model.default ? " (default)" : ""}`)),
    h("option", { value: ALL }, `Compare all ${models.length}`));
  select.onchange = () => choose(select.value === ALL ? models : select.value === "0" ? [] : [models[Number(select.value)]]);
}

/** @param {HTMLElement} host Shows the page about the models in it. */
export async function showModel(host) {
  if (!host.firstChild) host.append(h("h1", { id: "model-title" }, "The model"), h("p", { class: "pending" }, "Asking the server …"));
  try {
    const { models } = await json("models");
    const described = await Promise.all(models.map((model) => json(`model?${new URLSearchParams({ name: model.name, version: model.version })}`)));
    host.replaceChildren(h("h1", { id: "model-title" }, models.length > 1 ? "The models" : "The model"), ...described.flatMap(about));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    host.replaceChildren(h("h1", { id: "model-title" }, "The model"), h("p", { class: "more" }, `It cannot be shown: ${error.message}`),
      h("button", { type: "button", onclick: () => showModel(host) }, "Try again"));
  }
}

function about(model) {
  const calibration = model.calibrations.find((one) => one.runtime === model.runtime);
  const limits = calibration && [
    ["Sure enough", `The answer is “unsure” below ${exact(calibration.min_confidence)}; ${exact(calibration.coverage)} of the validation slices reach it.`],
    calibration.novelty && ["Brain MRI or not", `A picture farther than ${calibration.novelty.threshold.toFixed(2)} from the training slices counts as something else; ${exact(calibration.novelty.keeps)} of the validation slices are nearer.`],
  ];
  const facts = [
    ["Answers", model.labels.map(nameOf).join(", ")],
    ["Meant for", model.intended_use],
    ["Sees", `${model.network_side} × ${model.network_side} pixels: ${model.input.resize}`],
    ...(limits || []).filter(Boolean),
    ["Runs as", model.runtime],
    ["Made", `${new Date(model.provenance.created).toLocaleDateString(undefined, { dateStyle: "long" })}, recipe “${model.provenance.recipe}”`],
    ["Licence", model.licence],
  ];
  return [
    h("section", { class: "card" }, h("h2", {}, `${model.name} ${model.version}`),
      h("dl", { class: "facts" }, ...facts.flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]))),
    ...figureCards(model.figures, model.labels),
    ...(model.measurements.length ? [runtimes(model)] : []),
    h("section", { class: "card prose" }, h("h2", {}, `Card of ${model.name} ${model.version}`), markdown(model.card.replace(/^# .*\n/, ""), 2)),
  ];
}

function runtimes(model) {
  const head = ["Runtime", "Other labels than the reference", "Macro-F1 difference", "Images a second, one at a time", "Memory, MiB"];
  const rows = model.measurements.map((one) => [one.runtime, exact(one.label_flips), one.macro_f1_difference.toFixed(4), String(one.images_per_s["1"] ?? ""), one.resident_mib.toFixed(0)]);
  const [{ compared_images: images, processor }] = model.measurements;
  return h("section", { class: "card" }, h("h3", {}, "The same network in other runtimes"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runtimes" }, h("table", { class: "plain" },
      h("thead", {}, h("tr", {}, ...head.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...rows.map(([name, ...values]) => h("tr", {}, h("th", { scope: "row" }, name), ...values.map((value) => h("td", { class: "number" }, value))))))),
    h("p", { class: "hint" }, `Compared on ${images} images; measured on ${processor}.`));
}

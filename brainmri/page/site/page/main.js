/** Wires the page together. */

import { json, loadConfig, setKey } from "./api.js";
import { byId } from "./dom.js";
import { saveCsv, saveJson } from "./download.js";
import { describe, listen } from "./intake.js";
import { offerModels, showModel } from "./models.js";
import { saveReport } from "./report.js";
import { Result } from "./result.js";
import { savePdf } from "./server_report.js";
import { ServerState } from "./server_state.js";
import { Table } from "./table.js";
import { MOST_IMAGES, Uploads } from "./uploads.js";
import { counted } from "./words.js";

const uploads = new Uploads();
const result = new Result(byId("result"), uploads, (item) => saveReport([item], byId("notice").textContent, uploads.models[0] ?? null));
const table = new Table(byId("many"), uploads, {
  open: (item) => {
    show(item);
    byId("result").scrollIntoView({ block: "start" });
  },
  csv: async (items) => saveCsv(items, (await json("model").catch(() => null))?.input?.preprocessing_version ?? ""),
  json: (items) => saveJson(items, byId("notice").textContent),
  report: (items) => saveReport(items, byId("notice").textContent, uploads.models[0] ?? null),
  pdf: (items, told, named) => savePdf(items, uploads.models[0] ?? null, told, named),
});

function show(item) {
  result.show(item);
  table.mark(item);
}

function take(files) {
  if (!files.length) return;
  location.hash = "";
  const { added, left } = uploads.add(files);
  byId("left-out").textContent = left ? `This page holds at most ${MOST_IMAGES} images; ${counted(left, "image")} more were left out. Remove some first.` : "";
  document.documentElement.dataset.busy = "true";
  if (!added.length) return;
  show(added[0]);
  const place = byId("result").getBoundingClientRect();
  if (place.bottom > window.innerHeight) byId("result").scrollIntoView({ block: "start" });
}

uploads.addEventListener("list", () => {
  if (!result.item || !uploads.items.includes(result.item)) show(uploads.items[0] ?? null);
  if (!uploads.items.length) delete document.documentElement.dataset.busy;
});

function askKey() {
  const dialog = byId("key-dialog");
  if (!dialog.open) dialog.showModal();
}

byId("key-dialog").addEventListener("close", (event) => {
  const key = byId("key").value.trim();
  byId("key").value = "";
  if (event.target.returnValue !== "ok" || !key) return;
  setKey(key);
  uploads.resume();
  start();
});
uploads.addEventListener("key", () => {
  byId("key-message").textContent = uploads.pause.failure.message;
  askKey();
});

function route() {
  const model = location.hash === "#model";
  byId("model").hidden = !model;
  byId("classify").hidden = model;
  for (const [id, here] of [["nav-model", model], ["nav-classify", !model]]) {
    if (here) byId(id).setAttribute("aria-current", "page");
    else byId(id).removeAttribute("aria-current");
  }
  document.title = model ? "The model – Brain-MRI slice classifier" : "Brain-MRI slice classifier";
  if (model) showModel(byId("model"));
}

function start() {
  loadConfig().then(() => describe(take)).catch(() => {});
  offerModels((models) => {
    uploads.models = models;
    uploads.again(uploads.items);
  }).catch(() => {});
}

const state = new ServerState(uploads, askKey);
listen(take);
describe(take);
window.addEventListener("hashchange", () => {
  route();
  byId("main").focus({ preventScroll: true });
});
window.addEventListener("beforeunload", (event) => { if (uploads.left) event.preventDefault(); });
route();
state.watch(start);
performance.mark("interactive");

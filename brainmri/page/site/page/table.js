/** Many images: a row each with thumbnail, verdict and probabilities; sorted, filtered, selected, downloaded. */

import { offers } from "./api.js";
import { byId, h } from "./dom.js";
import { thumbnail } from "./pictures.js";
import { columnsOf, counted, errorWords, labelsOf, nameOf, shortVerdict } from "./words.js";

const LATER_MS = 150;
const FAILED = "No answer";

export class Table {
  #host;
  #uploads;
  #actions;
  #rows = new Map();
  #selected = new Set();
  #sort = { by: "order", down: false };
  #current = null;
  #timer = 0;
  #labels = "";
  /** Those with probabilities. */ #columns = columnsOf([]);
  #parts;

  /**
   * @param {HTMLElement} host
   * @param {import("./uploads.js").Uploads} uploads
   * @param {{open: (item: any) => void, csv: (items: any[]) => void, json: (items: any[]) => void, report: (items: any[]) => void,
   *   pdf: (items: any[], told: HTMLElement, named: boolean) => void}} actions
   */
  constructor(host, uploads, actions) {
    this.#host = host;
    this.#uploads = uploads;
    this.#actions = actions;
    this.#parts = this.#build();
    uploads.addEventListener("change", (event) => { this.#fill(event.detail); this.#later(); });
    // At once: from its first moment the table tells which images have no answer yet.
    uploads.addEventListener("list", () => this.#arrange());
    uploads.addEventListener("pause", () => this.#later());
  }

  /** Marks the row of the image that is shown. @param {import("./uploads.js").Item | null} item */
  mark(item) {
    this.#current = item;
    for (const [one, row] of this.#rows) row.toggleAttribute("data-current", one === item);
  }

  #build() {
    const parts = {
      progress: h("progress", { max: "1", value: "0", "aria-label": "Images answered" }),
      count: h("p", { class: "count" }),
      totals: h("p", { class: "totals" }),
      stop: h("button", { type: "button", onclick: () => this.#uploads.cancel() }, "Stop"),
      retry: h("button", { type: "button", onclick: () => this.#uploads.again(this.#failed()) }, "Try the failed ones again"),
      name: h("input", { type: "search", id: "filter-name", oninput: () => this.#later() }),
      verdict: h("select", { id: "filter-verdict", onchange: () => this.#later() }, ...verdicts([])),
      all: h("input", { type: "checkbox", "aria-label": "Select all shown images", onchange: (event) => this.#selectAll(event.target.checked) }),
      head: h("tr", { role: "row" }),
      body: h("tbody", { role: "rowgroup" }),
      chosen: h("p", { class: "chosen" }),
      named: h("input", { type: "checkbox", id: "pdf-names" }),
      pdf: h("button", { type: "button", onclick: () => this.#actions.pdf(this.#target(), this.#parts.told, this.#parts.named.checked) }, "PDF"),
      told: h("p", { class: "hint told", role: "status" }),
      remove: h("button", { type: "button", onclick: () => this.#remove() }, "Remove"),
    };
    const save = [h("button", { type: "button", onclick: () => this.#actions.csv(this.#target()) }, "CSV"),
      h("button", { type: "button", onclick: () => this.#actions.json(this.#target()) }, "JSON"),
      h("button", { type: "button", onclick: () => this.#actions.report(this.#target()) }, "Report"), parts.pdf];
    parts.head.append(h("th", { scope: "col", role: "columnheader" }, parts.all), this.#heading("order", "File"), this.#heading("verdict", "Verdict"));
    this.#host.append(
      h("div", { class: "many-head" }, h("h2", { id: "many-title" }, "All images"), parts.count, parts.progress,
        h("div", { class: "buttons" }, parts.stop, parts.retry), parts.totals),
      h("div", { class: "filters" }, h("label", { for: "filter-name" }, "File name"), parts.name, h("label", { for: "filter-verdict" }, "Verdict"), parts.verdict),
      h("div", { class: "saving", role: "group", "aria-label": "Save or remove images" }, parts.chosen, h("div", { class: "buttons" }, ...save, parts.remove),
        h("label", { class: "switch", for: "pdf-names" }, parts.named, h("span", {}, "Name the files in the PDF; the server gets their names then")), parts.told),
      h("table", { class: "images", role: "table" }, h("caption", { class: "unseen" }, "Images and answers; each file name opens its image"),
        h("thead", { role: "rowgroup" }, parts.head), parts.body));
    return parts;
  }

  #heading(by, name, kind = "") {
    return h("th", { scope: "col", role: "columnheader", "data-by": by, class: kind }, h("button", { type: "button", class: "sort", onclick: () => this.#sortBy(by) }, name));
  }

  /** Gives the classes of the answers their columns; they stay while there is no answer. */
  #classes() {
    const labels = labelsOf(this.#uploads.items.flatMap(({ answer }) => (answer ? [answer] : [])));
    if (!labels.length || labels.join() === this.#labels) return;
    this.#labels = labels.join();
    this.#columns = columnsOf(labels);
    const { head, verdict } = this.#parts;
    const chosen = verdict.value;
    verdict.replaceChildren(...verdicts(labels));
    verdict.value = [...verdict.options].some((option) => option.value === chosen) ? chosen : "";
    for (const old of head.querySelectorAll(".number")) old.remove();
    head.append(...this.#columns.map(({ by, name }) => this.#heading(by, name, "number")));
    if (![...head.children].some((th) => th.dataset.by === this.#sort.by)) this.#sort = { by: "order", down: false };
    for (const [item, row] of this.#rows) {
      for (const old of row.querySelectorAll(".share")) old.remove();
      row.append(...this.#shares());
      this.#fill(item);
    }
  }

  #shares() {
    return this.#columns.map(({ name }) => h("td", { role: "cell", class: "number share", "data-name": name }));
  }

  #later() {
    this.#timer ||= window.setTimeout(() => { this.#timer = 0; this.#arrange(); }, LATER_MS);
  }

  #arrange() {
    const { items } = this.#uploads;
    const here = new Set(items);
    for (const [item, row] of this.#rows) {
      if (here.has(item)) continue;
      row.remove();
      this.#rows.delete(item);
      this.#selected.delete(item);
    }
    this.#host.hidden = items.length < 2;
    if (this.#host.hidden) return;
    this.#classes();
    for (const item of items) if (!this.#rows.has(item)) this.#fill(item);
    const shown = this.#shown();
    const wanted = shown.map((item) => this.#rows.get(item));
    const { body } = this.#parts;
    if (wanted.length !== body.children.length || wanted.some((row, place) => body.children[place] !== row)) {
      const focused = document.activeElement;
      body.replaceChildren(...wanted);
      if (focused instanceof HTMLElement && body.contains(focused)) focused.focus();
    }
    this.#tell(items, shown);
  }

  #tell(items, shown) {
    const { left } = this.#uploads;
    const done = items.length - left;
    const parts = this.#parts;
    parts.progress.max = items.length;
    parts.progress.value = done;
    parts.progress.hidden = parts.stop.hidden = left === 0;
    parts.count.textContent = left ? `${done} of ${counted(items.length, "image")}` : counted(items.length, "image");
    parts.retry.hidden = this.#failed().length === 0;
    const totals = new Map();
    for (const item of items) if (verdictOf(item)) totals.set(verdictOf(item), (totals.get(verdictOf(item)) ?? 0) + 1);
    parts.totals.textContent = [...totals].sort((one, other) => other[1] - one[1]).map(([verdict, count]) => `${verdict}: ${count}`).join(" · ");
    const open = this.#target().filter((item) => !verdictOf(item)).length;
    parts.chosen.textContent = (this.#selected.size ? `${counted(this.#selected.size, "image")} selected` : `Save all ${counted(shown.length, "image")} shown`)
      + (open ? `, ${open} without an answer yet` : "");
    parts.pdf.hidden = parts.named.parentElement.hidden = !offers("report");
    parts.remove.disabled = this.#selected.size === 0;
    parts.all.checked = shown.length > 0 && shown.every((item) => this.#selected.has(item));
    parts.all.indeterminate = this.#selected.size > 0 && !parts.all.checked;
    for (const th of this.#host.querySelectorAll("th[data-by]")) {
      const sorted = th.dataset.by === this.#sort.by ? (this.#sort.down ? "descending" : "ascending") : "none";
      th.setAttribute("aria-sort", sorted);
    }
  }

  #shown() {
    const name = this.#parts.name.value.trim().toLowerCase();
    const verdict = this.#parts.verdict.value;
    const shown = this.#uploads.items.filter((item) => (!name || item.name.toLowerCase().includes(name)) && (!verdict || verdictOf(item) === verdict));
    const { by, down } = this.#sort;
    const value = (item) => (by === "order" ? item.name : by === "verdict" ? verdictOf(item) : (item.answer && this.#column(by)?.share(item.answer)) ?? -1);
    if (by === "order" && !down) return shown;
    const compare = (one, other) => (typeof one === "string" ? one.localeCompare(other, undefined, { numeric: true }) : one - other);
    return shown.sort((one, other) => compare(value(one), value(other)) * (down ? -1 : 1));
  }

  #fill(item) {
    if (this.#uploads.items.length < 2 && !this.#rows.has(item)) return;
    let row = this.#rows.get(item);
    if (!row) {
      const pick = h("input", { type: "checkbox", "aria-label": `Select ${item.name}`, onchange: (event) => this.#select(item, event.target.checked) });
      const open = h("button", { type: "button", class: "open", onclick: () => this.#actions.open(item) }, thumbnail(item), h("span", {}, item.name));
      row = h("tr", { role: "row" }, h("td", { role: "cell", class: "pick" }, pick), h("th", { scope: "row", role: "rowheader" }, open),
        h("td", { role: "cell", class: "verdict" }), ...this.#shares());
      row.toggleAttribute("data-current", item === this.#current);
      this.#rows.set(item, row);
    }
    row.dataset.state = item.state;
    row.querySelector(".verdict").textContent = item.state === "done" ? shortVerdict(item.answer)
      : item.state === "failed" ? errorWords(item.failure).title : item.state === "sending" ? "Asking …" : "Waiting";
    row.querySelectorAll(".share").forEach((place, number) => {
      const { share, text } = this.#columns[number];
      place.textContent = item.answer ? text(item.answer) : "";
      place.toggleAttribute("data-most", Boolean(item.answer) && share(item.answer) === item.answer.confidence);
    });
  }

  #sortBy(by) {
    const numbers = Boolean(this.#column(by));
    this.#sort = { by, down: this.#sort.by === by ? !this.#sort.down : numbers };
    this.#arrange();
  }

  #column(by) {
    return this.#columns.find((column) => column.by === by);
  }

  #select(item, on) {
    if (on) this.#selected.add(item);
    else this.#selected.delete(item);
    this.#later();
  }

  #selectAll(on) {
    for (const item of this.#shown()) {
      this.#select(item, on);
      this.#rows.get(item).querySelector("input").checked = on;
    }
  }

  #remove() {
    this.#uploads.remove([...this.#selected]);
    byId("main").focus({ preventScroll: true });
  }

  #target() {
    return this.#selected.size ? this.#uploads.items.filter((item) => this.#selected.has(item)) : this.#shown();
  }

  #failed() {
    return this.#uploads.items.filter((item) => item.state === "failed");
  }
}

/** What the table can be filtered by. */
const verdicts = (labels) => [h("option", { value: "" }, "All"),
  ...[...labels.map(nameOf), "Unsure", "Not a brain MRI", FAILED].map((name) => h("option", { value: name }, name))];

function verdictOf(item) {
  if (item.state === "failed") return FAILED;
  return item.state === "done" ? shortVerdict(item.answer) : "";
}

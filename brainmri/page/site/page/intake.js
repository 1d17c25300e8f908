/** The ways in: drop, folder, paste, choose, camera, samples. */

import { config, host, offers, request, sameOrigin, url } from "./api.js";
import { byId, h } from "./dom.js";
import { nameOf, size } from "./words.js";

const MOST_ENTRIES = 2000;

/** @param {(files: File[]) => void} take Gets what a person gave. */
export function listen(take) {
  const drop = byId("drop");
  const pick = (input) => {
    const files = [...input.files];
    input.value = "";
    take(files);
  };
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("camera").addEventListener("click", () => byId("shot").click());
  for (const id of ["file", "shot"]) byId(id).addEventListener("change", (event) => pick(event.target));
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
  let depth = 0;
  const over = (change) => {
    depth = Math.max(0, depth + change);
    drop.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", () => over(1));
  document.addEventListener("dragleave", () => over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    over(-depth);
    take(await dropped(event.dataTransfer));
  });
}

/** Files of a drop, those in folders included. */
async function dropped(transfer) {
  const entries = [...(transfer?.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...(transfer?.files ?? [])];
  const files = [];
  while (entries.length && files.length < MOST_ENTRIES) {
    const entry = entries.shift();
    if (entry.isFile) files.push(await new Promise((resolve, reject) => { entry.file(resolve, reject); }));
    else entries.push(...await children(entry));
  }
  return files.filter((file) => !file.name.startsWith("."));
}

async function children(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!some.length || found.length > MOST_ENTRIES) return found;
    found.push(...some);
  }
}

/** Says what the server takes and where images go, and offers its samples. @param {(files: File[]) => void} take */
export function describe(take) {
  byId("formats").textContent = `${config.formats.slice(0, -1).join(", ")} or ${config.formats.at(-1)}, up to ${size(config.limits.image_bytes)} each; one or many, also whole folders.`;
  const where = sameOrigin() ? "this server" : host();
  byId("privacy").textContent = `Images are sent to ${where} and nowhere else. It answers and keeps none of them; file names stay here.`;
  byId("nav-docs").href = url("docs");
  byId("samples").hidden = config.samples.length === 0;
  byId("sample-list").replaceChildren(...config.samples.map((sample) => h("li", {},
    h("button", { type: "button", class: "sample", onclick: () => open(sample, take) },
      h("img", { src: url(sample.url), alt: "", width: 96, height: 96, loading: "lazy", crossorigin: sameOrigin() ? null : "anonymous" }), h("span", {}, caption(sample.name))))));
  const touch = matchMedia("(pointer: coarse)").matches;
  byId("camera").hidden = !touch;
  if (touch) byId("drop-title").textContent = "Choose a slice, or photograph one";
  if (!offers("preview")) document.documentElement.dataset.preview = "none";
}

const caption = (name) => ({ unsure: "Unsure", not_a_brain_mri: "Not a brain MRI" })[name] ?? nameOf(name);

async function open(sample, take) {
  const content = await (await request(sample.url)).blob();
  take([new File([content], sample.url.split("/").at(-1) ?? sample.name, { type: content.type })]);
}

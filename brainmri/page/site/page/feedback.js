/** "This is wrong": the right label of one answered image, sent with the hash of its file and nothing else. */

import { offers, request } from "./api.js";
import { h } from "./dom.js";
import { nameOf } from "./words.js";

const NOT_USABLE = "not_usable";

/** @param {any} item An answered image. @returns {HTMLElement | false} False where the server takes no feedback. */
export function feedback(item) {
  if (!offers("feedback")) return false;
  const { answer } = item;
  const labels = Object.keys(answer.probabilities).filter((label) => label !== answer.verdict);
  const select = h("select", {}, ...labels.map((label) => h("option", { value: label }, nameOf(label))),
    h("option", { value: NOT_USABLE }, "Not usable"));
  const told = h("p", { class: "hint told", role: "status" });
  const button = h("button", { type: "button", onclick: async () => {
    button.disabled = true;
    told.textContent = "Sending …";
    try {
      await send(item, select.value);
      told.textContent = "Thank you. The server keeps the answer and a hash of the file, not the image.";
    } catch (error) {
      told.textContent = error.message;
      button.disabled = false;
    }
  } }, "Send");
  const label = h("label", { class: "range" }, h("span", {}, "It should be"), select);
  return h("details", { class: "details feedback" }, h("summary", {}, "This is wrong"), label, h("div", { class: "buttons" }, button), told);
}

/** @param {any} item @param {string} label */
async function send(item, label) {
  const { name, version } = item.answer.model;
  const body = JSON.stringify({ ...await nameOfImage(item), label });
  const query = new URLSearchParams({ model: name, version });
  await request(`feedback?${query}`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
}

/** A page without TLS has no hashes; the id of its request names the image then. */
async function nameOfImage(item) {
  if (!globalThis.crypto?.subtle) return { request_id: item.answer.request_id };
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await item.file.arrayBuffer()));
  return { image_sha256: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") };
}

/** Answers as files: CSV with the columns of `brainmri score`, and JSON as the server said it. */

import { save } from "./dom.js";
import { UNANSWERED, labelsOf } from "./words.js";

const BEFORE = ["id", "path", "frame", "instance", "series", "sha256", "status", "label"];
const AFTER = ["confidence", "novelty", "verdict", "error_code", "error_message", "model", "runtime", "preprocessing_version", "scored_at"];

/** @param {import("./uploads.js").Item[]} items @param {string} preprocessing Version of the resize rule, from `/model`. */
export async function saveCsv(items, preprocessing) {
  const rows = await rowsOf(items, preprocessing);
  const labels = labelsOf(items.flatMap((item) => (item.state === "done" ? item.answers.map(({ answer }) => answer) : [])));
  const columns = [...BEFORE, ...labels.map((label) => `probability_${label}`), ...AFTER];
  const lines = [columns, ...rows.map((row) => columns.map((column) => row[column]))];
  save("answers.csv", "text/csv", lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n");
}

/** @param {import("./uploads.js").Item[]} items @param {string} notice */
export function saveJson(items, notice) {
  const results = items.map((item) => (item.state === "done"
    ? { file: item.name, ...item.answer, ...(item.answers.length > 1 ? { models: item.answers.map(({ answer }) => answer) } : {}) }
    : { file: item.name, error: why(item) }));
  save("answers.json", "application/json", JSON.stringify({ notice, results }, null, 2) + "\n");
}

function why(item) {
  const { code, message } = item.failure ?? UNANSWERED;
  return { code, message };
}

async function rowsOf(items, preprocessing) {
  const rows = [];
  for (const item of items) {
    for (const { answer } of item.state === "done" ? item.answers : [{ answer: null }]) rows.push(await rowOf(item, answer, preprocessing));
  }
  return rows;
}

async function rowOf(item, answer, preprocessing) {
  const row = { id: String(item.id), path: item.name, sha256: await sha256(item.file), scored_at: item.askedAt };
  if (!answer) return { ...row, status: item.failure ? "failed" : UNANSWERED.code, error_code: why(item).code, error_message: why(item).message };
  const { label, confidence, novelty, verdict, model, image } = answer;
  const shares = Object.fromEntries(Object.entries(answer.probabilities).map(([one, share]) => [`probability_${one}`, share]));
  return { ...row, frame: image?.frames > 1 ? image.frame : null, ...shares, status: "ok", label, confidence, novelty, verdict, model: `${model.name}:${model.version}`, runtime: model.runtime, preprocessing_version: preprocessing };
}

async function sha256(file) {
  // Browsers hash only on pages that came over HTTPS or from this machine.
  if (!crypto.subtle) return null;
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer().catch(() => new ArrayBuffer(0)));
  return file.size ? [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("") : null;
}

/** A cell of CSV; what a spreadsheet would take for a formula starts with an apostrophe. */
function cell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The server's report as PDF, of one image or many, with heat maps where the model has them. */

import { config, request } from "./api.js";
import { save } from "./dom.js";
import { bytesOf, query } from "./uploads.js";
import { counted, size } from "./words.js";

/**
 * Has the server write a report and saves it; what happens is told in `place`.
 *
 * @param {import("./uploads.js").Item[]} items At least one.
 * @param {any} model As `/models` lists it; null asks the default.
 * @param {HTMLElement} place Of role `status`.
 * @param {boolean} named Whether the server gets the names of the files, which the report then holds.
 */
export async function savePdf(items, model, place, named = false) {
  const refused = tooMuch(items);
  if (refused) {
    place.textContent = refused;
    return;
  }
  place.textContent = "The server writes the report …";
  try {
    const alone = items.length === 1 ? items[0] : null;
    const asked = query(alone, model, { format: "pdf" });
    const answer = await request(`report${asked}`, { method: "POST", body: await form(items, named) });
    save("report.pdf", "application/pdf", await answer.blob());
    const usual = !alone && items.some((item) => item.frame !== null);
    place.textContent = usual ? "The report is saved. It shows the usual frame of each file, not the chosen one." : "The report is saved.";
  } catch (error) {
    place.textContent = `No report: ${error.message}`;
  }
}

function tooMuch(items) {
  const { report_images: most, report_bytes: together } = config.limits;
  if (items.length > most) return `No report: the server writes one of at most ${counted(most, "image")}. Select fewer, or save the report as HTML.`;
  const bytes = items.reduce((sum, item) => sum + item.file.size, 0);
  if (bytes <= together) return "";
  return `No report: these images have ${size(bytes)}, and the server takes at most ${size(together)} together. Select fewer, or save the report as HTML.`;
}

async function form(items, named) {
  const body = new FormData();
  // A file's own name may name a patient: without leave the server gets its place in the list.
  for (const [place, item] of items.entries()) body.append("images", await bytesOf(item), named ? item.name : `image ${place + 1}`);
  return body;
}

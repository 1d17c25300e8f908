/** The server's report of one image as PDF, with its heat map where the model has them. */

import { request } from "./api.js";
import { save } from "./dom.js";
import { bytesOf, query } from "./uploads.js";

/**
 * @param {import("./uploads.js").Item} item
 * @param {any} model As `/models` lists it; null asks the default.
 * @throws {import("./api.js").Failure} The server writes none.
 */
export async function savePdf(item, model) {
  const form = new FormData();
  // The file's own name may name a patient; the server does not need it.
  form.append("images", await bytesOf(item), "image");
  const answer = await request(`report${query(item, model, { format: "pdf" })}`, { method: "POST", body: form });
  save("report.pdf", "application/pdf", await answer.blob());
}

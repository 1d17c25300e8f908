/** Files as pictures: drawn by the browser where it can, else by the server. */

import { offers, request, upload } from "./api.js";
import { bytesOf, query } from "./uploads.js";

const MOST_SIDE = 1600;
const MOST_KEPT = 6;

/** The pictures that were wanted last; each may take 10 MB.
 * @type {Map<import("./uploads.js").Item, {frame: number | null, served: boolean, canvas: Promise<HTMLCanvasElement | null>}>} */
const drawn = new Map();

/**
 * @param {import("./uploads.js").Item} item
 * @returns {Promise<HTMLCanvasElement | null>} The picture, its longer side at most 1600 pixels; null if nothing draws it.
 */
export function pictureOf(item) {
  const served = needsServer(item);
  const known = drawn.get(item);
  if (known && known.frame === item.frame && known.served === served) return known.canvas;
  const canvas = draw(item, served);
  drawn.delete(item);
  drawn.set(item, { frame: item.frame, served, canvas });
  if (drawn.size > MOST_KEPT) drawn.delete(drawn.keys().next().value);
  canvas.then((found) => { if (!found) drawn.delete(item); });
  return canvas;
}

/** Wide greys and frames: the browser would show other greys, or another frame, than the network saw. */
function needsServer(item) {
  const image = item.answer?.image;
  return offers("preview") && (item.frame !== null || (image?.bits ?? 8) > 8 || (image?.frames ?? 1) > 1);
}

async function draw(item, served) {
  if (!served) {
    const own = await bitmap(item.file);
    if (own) return toCanvas(own);
    if (!offers("preview")) return null;
  }
  try {
    const answer = await request(`preview${query(item, null)}`, upload(await bytesOf(item)));
    const theirs = await bitmap(await answer.blob());
    return theirs && toCanvas(theirs);
  } catch {
    return null;
  }
}

async function bitmap(blob) {
  try {
    return await createImageBitmap(blob);
  } catch {
    return null;
  }
}

function toCanvas(image) {
  const scale = Math.min(1, MOST_SIDE / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  // Transparent parts are black for the network too.
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return canvas;
}

/** Draws the picture into a square thumbnail when it comes into view. @param {import("./uploads.js").Item} item */
export function thumbnail(item) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 96;
  canvas.className = "thumbnail";
  canvas.setAttribute("aria-hidden", "true");
  waiting.set(canvas, item);
  seen.observe(canvas);
  return canvas;
}

/** @type {WeakMap<Element, import("./uploads.js").Item>} */
const waiting = new WeakMap();
let chain = Promise.resolve();
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    const item = waiting.get(entry.target);
    // One after the other: a hundred at once would hold a hundred decoded pictures.
    chain = chain.then(() => fill(/** @type {HTMLCanvasElement} */ (entry.target), item)).catch(() => {});
  }
}, { rootMargin: "200px" });

async function fill(canvas, item) {
  const known = drawn.get(item);
  const picture = await (known ? known.canvas : draw(item, needsServer(item)));
  if (!picture) return;
  const scale = canvas.width / Math.max(picture.width, picture.height);
  const width = picture.width * scale;
  const height = picture.height * scale;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
  canvas.dataset.drawn = "";
}

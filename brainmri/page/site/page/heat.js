/** Where the network looked: the server's map of one class, coloured for the viewer. */

import { json, upload } from "./api.js";
import { bytesOf, query } from "./uploads.js";

/** From dark to light, so that the order shows without colour; blue to yellow, which the colour-blind tell apart. */
const STOPS = [[0, 32, 77], [49, 68, 107], [87, 92, 109], [124, 123, 120], [165, 156, 116], [211, 193, 100], [255, 234, 70]];

/** @type {WeakMap<import("./uploads.js").Item, Map<string, Promise<HTMLCanvasElement>>>} */
const known = new WeakMap();

/**
 * @param {import("./uploads.js").Item} item
 * @param {string} label Which class is explained.
 * @param {any} model As `/models` lists it; null asks the default.
 * @returns {Promise<HTMLCanvasElement>} The map over the network's square input; opaque where it is strong.
 */
export function heatOf(item, label, model) {
  const maps = known.get(item) ?? new Map();
  known.set(item, maps);
  const key = [label, item.frame, model?.name, model?.version].join("|");
  if (!maps.has(key)) {
    const map = ask(item, label, model);
    map.catch(() => maps.delete(key));
    maps.set(key, map);
  }
  return maps.get(key);
}

async function ask(item, label, model) {
  const answer = await json(`explain${query(item, model, { label })}`, upload(await bytesOf(item)));
  const { png, width, height } = answer.heatmap;
  const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const value = pixels.data[at] / 255;
    pixels.data.set([...colour(value), 255 * Math.min(1, 1.6 * value)], at);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** @param {number} value In [0, 1]. @returns {number[]} Red, green, blue. */
function colour(value) {
  const place = value * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(place));
  return STOPS[low].map((from, channel) => from + (STOPS[low + 1][channel] - from) * (place - low));
}

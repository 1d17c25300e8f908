/** A slice on a canvas: zoom, pan, window and level, invert, and a heat map above it. */

import { h } from "./dom.js";

const MOST_ZOOM = 16;
const STEP = 1.25;
const NEUTRAL = { zoom: 1, x: 0, y: 0, window: 255, level: 128, invert: false };

export class Viewer {
  #canvas = h("canvas", { class: "view", tabindex: "0", role: "application", "aria-describedby": "view-keys" });
  #shown = document.createElement("canvas");
  #picture = null;
  #heat = null;
  #opacity = 0.6;
  #view = { ...NEUTRAL };
  #pointers = new Map();
  #windowing = false;
  #frame = 0;
  #controls;

  constructor() {
    this.#controls = this.#buildControls();
    this.stage = h("div", { class: "stage" }, this.#canvas);
    this.tools = h("div", { class: "viewer-tools" }, this.#controls.bar,
      h("p", { class: "hint", id: "view-keys" }, "Keys on the picture: + and − zoom, arrows pan, Shift with arrows changes contrast and brightness, I inverts, 0 resets."));
    new ResizeObserver(() => this.#later()).observe(this.#canvas);
    this.#listen();
    this.#sync();
  }

  /** @param {HTMLCanvasElement | null} picture @param {string} name What a screen reader calls it. */
  show(picture, name) {
    this.#picture = picture;
    this.#heat = null;
    this.#canvas.setAttribute("aria-label", picture ? `Slice ${name}` : `No preview of ${name}`);
    this.#relevel();
  }

  /** @param {HTMLCanvasElement | null} map Covers the network's square input, in which the slice stands centred. */
  setHeat(map) {
    this.#heat = map;
    this.#later();
  }

  /** @param {number} opacity In [0, 1]. */
  setOpacity(opacity) {
    this.#opacity = opacity;
    this.#later();
  }

  /** Back to the whole slice as it is. */
  reset() {
    this.#view = { ...NEUTRAL };
    this.#relevel();
  }

  #buildControls() {
    const button = (name, sign, act) => h("button", { type: "button", class: "tool", "aria-label": name, title: name, onclick: act }, sign);
    const slider = (name, act) => h("input", { type: "range", min: "-100", max: "100", value: "0", "aria-label": name, oninput: (event) => act(Number(event.target.value)) });
    const level = slider("Brightness: the level", (value) => this.#change({ level: NEUTRAL.level - value * 1.27 }));
    const window = slider("Contrast: the window", (value) => this.#change({ window: NEUTRAL.window * 2 ** (-value / 33) }));
    const invert = h("button", { type: "button", class: "tool", "aria-pressed": "false", onclick: () => this.#change({ invert: !this.#view.invert }) }, "Invert");
    const drag = h("button", { type: "button", class: "tool", "aria-pressed": "false", title: "Dragging changes contrast and brightness instead of moving the picture",
      onclick: () => { this.#windowing = !this.#windowing; this.#sync(); } }, "Drag for contrast");
    const bar = h("div", { class: "tools", role: "group", "aria-label": "Picture" },
      button("Zoom out", "−", () => this.#zoomBy(1 / STEP)), button("Zoom in", "+", () => this.#zoomBy(STEP)), invert, drag,
      h("button", { type: "button", class: "tool", onclick: () => this.reset() }, "Reset"),
      h("label", { class: "range" }, h("span", {}, "Brightness"), level), h("label", { class: "range" }, h("span", {}, "Contrast"), window));
    return { bar, level, window, invert, drag };
  }

  #listen() {
    const canvas = this.#canvas;
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    });
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.#pointers.delete(event.pointerId));
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("wheel", (event) => {
      // Elsewhere the wheel goes on scrolling the page.
      if (!event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      this.#zoomBy(event.deltaY < 0 ? STEP : 1 / STEP, this.#at(event));
    }, { passive: false });
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.key === "+" || event.key === "=") this.#zoomBy(STEP);
    else if (event.key === "-") this.#zoomBy(1 / STEP);
    else if (event.key === "0" || event.key === "Escape") this.reset();
    else if (event.key.toLowerCase() === "i") this.#change({ invert: !this.#view.invert });
    else if ((across || down) && event.shiftKey) this.#windowBy(across * 8, down * 8);
    else if (across || down) this.#panBy(-across * 0.06, -down * 0.06);
    else return;
    event.preventDefault();
  }

  #drag(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const rect = this.#canvas.getBoundingClientRect();
    if (this.#pointers.size === 2) {
      const [other] = [...this.#pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const apart = (place) => Math.max(1, Math.hypot(place.x - other.x, place.y - other.y));
      this.#zoomBy(apart(now) / apart(before), this.#at({ clientX: (now.x + other.x) / 2, clientY: (now.y + other.y) / 2 }));
    } else if (this.#windowing || event.shiftKey) {
      this.#windowBy(now.x - before.x, now.y - before.y);
    } else {
      this.#panBy((now.x - before.x) / rect.width, (now.y - before.y) / rect.height);
    }
    this.#pointers.set(event.pointerId, now);
  }

  /** A pointer's place from the middle of the canvas, in widths of it. */
  #at(event) {
    const rect = this.#canvas.getBoundingClientRect();
    return { x: (event.clientX - rect.left) / rect.width - 0.5, y: (event.clientY - rect.top) / rect.height - 0.5 };
  }

  #zoomBy(factor, at = { x: 0, y: 0 }) {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.#view.zoom * factor));
    const grown = zoom / this.#view.zoom;
    // What is under the pointer stays there.
    this.#change({ zoom, x: at.x - (at.x - this.#view.x) * grown, y: at.y - (at.y - this.#view.y) * grown });
  }

  #panBy(x, y) {
    this.#change({ x: this.#view.x + x, y: this.#view.y + y });
  }

  /** @param {number} wider Doublings of the window, in fiftieths. @param {number} lower Greys by which the level rises. */
  #windowBy(wider, lower) {
    const window = this.#view.window * 2 ** (wider / 50);
    this.#change({ window: Math.min(2040, Math.max(32, window)), level: Math.min(255, Math.max(1, this.#view.level + lower)) });
  }

  #change(changes) {
    Object.assign(this.#view, changes);
    const most = (this.#view.zoom - 1) / 2;
    for (const axis of ["x", "y"]) this.#view[axis] = Math.min(most, Math.max(-most, this.#view[axis]));
    if ("window" in changes || "level" in changes || "invert" in changes) this.#relevel();
    else this.#later();
    this.#sync();
  }

  #sync() {
    const { level, window, invert, drag } = this.#controls;
    level.value = String((NEUTRAL.level - this.#view.level) / 1.27);
    window.value = String(-33 * Math.log2(this.#view.window / NEUTRAL.window));
    level.setAttribute("aria-valuetext", `level ${Math.round(this.#view.level)} of 255`);
    window.setAttribute("aria-valuetext", `window ${Math.round(this.#view.window)} of 255`);
    invert.setAttribute("aria-pressed", String(this.#view.invert));
    drag.setAttribute("aria-pressed", String(this.#windowing));
    this.#canvas.dataset.view = JSON.stringify(this.#view);
    // A finger scrolls the page as long as there is nothing to pan.
    this.#canvas.style.touchAction = this.#view.zoom > 1 || this.#windowing ? "none" : "pan-y";
  }

  #relevel() {
    this.#sync();
    if (this.#picture) relevelled(this.#picture, this.#shown, this.#view);
    this.#later();
  }

  #later() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const side = Math.round(this.#canvas.clientWidth * Math.min(3, devicePixelRatio || 1));
    if (!side) return;
    this.#canvas.width = this.#canvas.height = side;
    if (!this.#picture) return;
    const context = this.#canvas.getContext("2d");
    const { zoom, x, y } = this.#view;
    context.translate(side * (0.5 + x), side * (0.5 + y));
    const { width, height } = this.#picture;
    const square = side * zoom;
    const scale = square / Math.max(width, height);
    context.imageSmoothingEnabled = scale < 4;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#shown, (-width * scale) / 2, (-height * scale) / 2, width * scale, height * scale);
    if (!this.#heat) return;
    context.beginPath();
    context.rect((-width * scale) / 2, (-height * scale) / 2, width * scale, height * scale);
    context.clip();
    context.imageSmoothingEnabled = true;
    context.globalAlpha = this.#opacity;
    context.drawImage(this.#heat, -square / 2, -square / 2, square, square);
  }
}

/** Draws `picture` into `target` through the window and level of `view`. */
function relevelled(picture, target, view) {
  target.width = picture.width;
  target.height = picture.height;
  const context = target.getContext("2d");
  if (view.window === NEUTRAL.window && view.level === NEUTRAL.level && !view.invert) {
    context.drawImage(picture, 0, 0);
    return;
  }
  const table = new Uint8ClampedArray(256);
  for (let grey = 0; grey < 256; grey++) {
    table[grey] = ((grey - view.level) / view.window + 0.5) * 255;
    if (view.invert) table[grey] = 255 - table[grey];
  }
  const pixels = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    for (let channel = 0; channel < 3; channel++) pixels.data[at + channel] = table[pixels.data[at + channel]];
  }
  context.putImageData(pixels, 0, 0);
}

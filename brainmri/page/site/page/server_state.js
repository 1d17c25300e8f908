/** How the server is, in one sentence with what happens next; empty while all is well. */

import { Failure, host, ready } from "./api.js";
import { byId, h } from "./dom.js";

const LOOK_AGAIN_MS = 2000;

const SENTENCES = {
  busy: "The server has more to do than it can take.",
  starting: "The model is warming up, or the server is being replaced.",
  offline: "The server cannot be reached.",
  slow: "The server is slow to answer.",
  key: "The server asks for an API key.",
};

export class ServerState {
  #uploads;
  #askKey;
  #place = byId("server-state");
  #ready = true;
  #timer = 0;

  /** @param {import("./uploads.js").Uploads} uploads @param {() => void} askKey */
  constructor(uploads, askKey) {
    this.#uploads = uploads;
    this.#askKey = askKey;
    uploads.addEventListener("pause", () => this.#show());
    uploads.addEventListener("list", () => this.#show());
    setInterval(() => this.#countDown(), 1000);
  }

  /** Looks until the model answers; `then` is called once it does. @param {() => void} then */
  async watch(then) {
    let state = "starting";
    try {
      this.#ready = await ready();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.#ready = false;
      state = "offline";
    }
    this.#show(state);
    if (this.#ready) then();
    else this.#timer = window.setTimeout(() => this.watch(then), LOOK_AGAIN_MS);
  }

  #show(state = "starting") {
    const { pause } = this.#uploads;
    const kind = pause?.failure.kind ?? (this.#ready ? "" : state);
    this.#place.className = kind ? `state ${kind}` : "";
    if (!kind) {
      this.#place.replaceChildren();
      return;
    }
    const act = kind === "key" ? h("button", { type: "button", onclick: this.#askKey }, "Enter the key")
      : pause && h("button", { type: "button", onclick: () => this.#uploads.resume() }, "Try now");
    this.#place.replaceChildren(h("p", {}, h("strong", {}, kind === "offline" ? `${host()} cannot be reached.` : SENTENCES[kind]), " ", this.#next(kind)), ...(act ? [act] : []));
    this.#countDown();
  }

  #next(kind) {
    const waiting = this.#uploads.left > 0;
    if (kind === "key") return waiting ? "Your images wait until you enter one." : "";
    if (!this.#uploads.pause) return "The page looks again every two seconds; images that you add wait and start by themselves.";
    return h("span", {}, "Nothing is lost; it tries again ", h("span", { class: "in", "aria-hidden": "true" }, "soon"), ".");
  }

  #countDown() {
    const place = this.#place.querySelector(".in");
    const { pause } = this.#uploads;
    if (!place || !pause) return;
    const left = Math.max(0, Math.ceil((pause.until - Date.now()) / 1000));
    place.textContent = left ? `in ${left} s` : "now";
  }
}

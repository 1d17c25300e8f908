/** The images of this tab and their way to the server: a bounded number at a time, with patience where it helps. */

import { config, Failure, json, offers, upload } from "./api.js";
import { sizes } from "./words.js";

export const MOST_IMAGES = 1000;
const MOST_AT_A_TIME = 4;
const MOST_PAUSE_S = 10;

/**
 * @typedef {object} Item One image.
 * @property {number} id
 * @property {File} file
 * @property {string} name
 * @property {"waiting" | "sending" | "done" | "failed"} state
 * @property {any} answer The body of `/predict`, of the first model that was asked.
 * @property {{model: any, answer: any}[]} answers One for each model that was asked.
 * @property {{code?: string, message: string} | null} failure
 * @property {number | null} frame Which frame of the file is asked for; null leaves it to the server.
 * @property {string} askedAt ISO time of the answer.
 * @property {number} tries Times that the server was too slow for it; the others go first.
 */

/** Emits `change` with the item that changed, `list` when items come or go, `pause`, and `key` when a key is needed. */
export class Uploads extends EventTarget {
  /** @type {Item[]} */ items = [];
  /** @type {{failure: Failure, until: number} | null} Why nothing is sent right now. */ pause = null;
  /** @type {any[]} Models to ask, as `/models` lists them; empty asks the default. */ models = [];
  #next = 1;
  #allowed = MOST_AT_A_TIME;
  #running = new Map();
  #fails = 0;
  #timer = 0;

  constructor() {
    super();
    window.addEventListener("online", () => { if (this.pause?.failure.kind === "offline") this.resume(); });
  }

  /** @param {File[]} files @returns {{added: Item[], left: number}} What was taken, and how many were one too many. */
  add(files) {
    const taken = files.slice(0, Math.max(0, MOST_IMAGES - this.items.length));
    const added = taken.map((file) => newItem(this.#next++, file));
    this.items.push(...added);
    for (const item of added) refuseEarly(item);
    this.#emit("list");
    this.#pump();
    return { added, left: files.length - taken.length };
  }

  /** @param {Item[]} items Their answers are dropped, and they are asked again. */
  again(items) {
    for (const item of items) {
      this.#running.get(item)?.abort();
      this.#running.delete(item);
      Object.assign(item, { state: "waiting", answer: null, answers: [], failure: null, tries: 0 });
      refuseEarly(item);
      this.#changed(item);
    }
    this.#pump();
  }

  /** Stops what is under way or waiting; answers that are there stay. */
  cancel() {
    for (const item of this.items) {
      if (item.state !== "waiting" && item.state !== "sending") continue;
      this.#running.get(item)?.abort();
      this.#running.delete(item);
      this.#fail(item, { code: "cancelled", message: "You stopped it before the server answered." });
    }
    this.resume();
  }

  /** @param {Item[]} items */
  remove(items) {
    const gone = new Set(items);
    for (const item of items) this.#running.get(item)?.abort();
    for (const item of items) this.#running.delete(item);
    this.items = this.items.filter((item) => !gone.has(item));
    this.#emit("list");
    this.#pump();
  }

  /** @returns {number} Images without an answer or an error. */
  get left() {
    return this.items.filter((item) => item.state === "waiting" || item.state === "sending").length;
  }

  /** Goes on now. */
  resume() {
    clearTimeout(this.#timer);
    if (this.pause) {
      this.pause = null;
      this.#emit("pause");
    }
    this.#pump();
  }

  #pump() {
    if (this.pause) return;
    const waiting = this.items.filter((item) => item.state === "waiting").sort((one, other) => one.tries - other.tries);
    for (const item of waiting.slice(0, Math.max(0, this.#allowed - this.#running.size))) this.#send(item);
  }

  async #send(item) {
    const abort = new AbortController();
    this.#running.set(item, abort);
    item.state = "sending";
    this.#changed(item);
    try {
      const answers = await ask(item, this.models, abort.signal);
      if (abort.signal.aborted) return;
      this.#fails = 0;
      this.#allowed = Math.min(MOST_AT_A_TIME, this.#allowed + 1);
      Object.assign(item, { state: "done", answers, answer: answers[0].answer, failure: null, askedAt: new Date().toISOString() });
    } catch (error) {
      if (abort.signal.aborted) return;
      this.#failed(item, error);
    } finally {
      if (this.#running.get(item) === abort) this.#running.delete(item);
    }
    this.#changed(item);
    this.#pump();
  }

  #failed(item, error) {
    const failure = error instanceof Failure ? error : new Failure("fault", String(error));
    if (failure.kind === "slow") item.tries++;
    if (failure.passing || failure.kind === "key") {
      item.state = "waiting";
      this.#wait(failure);
      return;
    }
    this.#fail(item, failure);
  }

  #wait(failure) {
    this.#allowed = Math.max(1, Math.floor(this.#allowed / 2));
    // Requests that were under way together fail together, and count once.
    if (this.pause) return;
    const growing = Math.min(MOST_PAUSE_S, 2 ** this.#fails++);
    const waitS = failure.retryAfterS ?? growing;
    this.pause = { failure, until: Date.now() + waitS * 1000 };
    this.#emit("pause");
    if (failure.kind === "key") this.#emit("key");
    else this.#timer = window.setTimeout(() => this.resume(), waitS * 1000);
  }

  #fail(item, failure) {
    Object.assign(item, { state: "failed", failure, answer: null, answers: [] });
    this.#changed(item);
  }

  #changed(item) {
    this.dispatchEvent(new CustomEvent("change", { detail: item }));
  }

  #emit(name) {
    this.dispatchEvent(new Event(name));
  }
}

/** @returns {Item} */
function newItem(id, file) {
  const name = file.webkitRelativePath || file.name || `image ${id}`;
  return { id, file, name, state: "waiting", answer: null, answers: [], failure: null, frame: null, askedAt: "", tries: 0 };
}

/** Refuses what the server would refuse, without sending it. */
function refuseEarly(item) {
  const most = config.limits.image_bytes;
  if (item.file.size > most) {
    const [has, may] = sizes(item.file.size, most);
    const message = `It has ${has}; an image may have at most ${may}. Send a smaller file.`;
    Object.assign(item, { state: "failed", failure: { code: "image_too_large", message } });
  } else if (item.file.size === 0) {
    Object.assign(item, { state: "failed", failure: { code: "image_empty", message: "It has 0 bytes. Choose another file." } });
  }
}

async function ask(item, models, signal) {
  const content = await bytesOf(item);
  const answers = [];
  for (const model of models.length ? models : [null]) {
    const answer = await json(`predict${query(item, model)}`, { ...upload(content), signal });
    answers.push({ model: model ?? answer.model, answer });
  }
  return answers;
}

/** Reads the file first: a browser reports one that has gone as if the network had failed. */
export async function bytesOf(item) {
  try {
    return new Blob([await item.file.arrayBuffer()], { type: item.file.type });
  } catch {
    throw new Failure("refused", "It was moved, changed or deleted after you chose it. Choose it again.", { code: "file_gone" });
  }
}

/** @param {Item | null} item Null for many. @param {any} model @param {Record<string, string>} more @returns {string} With its `?`, or empty. */
export function query(item, model, more = {}) {
  const chosen = new URLSearchParams(more);
  if (model) {
    chosen.set("model", model.name);
    chosen.set("version", model.version);
  }
  if (item && item.frame !== null && offers("frames")) chosen.set("frame", String(item.frame));
  return chosen.size ? `?${chosen}` : "";
}

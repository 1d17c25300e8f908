/** The server: where it is, its limits, the key, and every request with its errors sorted by what to do next. */

const KEY = "brainmri-api-key";
const TIMEOUT_MS = 60_000;

const base = new URL(document.querySelector('meta[name="brainmri-api"]')?.getAttribute("content") || "./", document.baseURI);

/** What the server takes and offers, until it has said so itself. */
export const config = {
  limits: { image_bytes: 16 * 2 ** 20, report_images: 64, report_bytes: 64 * 2 ** 20 },
  features: /** @type {string[]} */ ([]),
  formats: ["JPEG", "PNG", "BMP", "TIFF", "WebP", "GIF"],
  samples: /** @type {{name: string, url: string}[]} */ ([]),
  version: "",
};

/** @param {string} path Relative to the server. @returns {string} */
export const url = (path) => new URL(path, base).href;

/** The host that gets the images. */
export const host = () => base.host;

/** Whether page and service come from one origin. */
export const sameOrigin = () => base.origin === location.origin;

/** @param {string} feature Such as `explain`. */
export const offers = (feature) => config.features.includes(feature);

/** @param {string} key Empty forgets it. */
export function setKey(key) {
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch { /* Storage is switched off: the key lives in memory alone. */ }
  remembered = key;
}

let remembered = (() => {
  try { return sessionStorage.getItem(KEY) ?? ""; } catch { return ""; }
})();

/**
 * Why a request has no answer.
 *
 * kind: `offline`, `starting` (503), `busy` (429), `slow` (504): trying again helps; `key` (401); `refused` (other 4xx)
 * and `fault`: it does not.
 */
export class Failure extends Error {
  /** @param {string} kind @param {string} message @param {{code?: string, status?: number, retryAfterS?: number, requestId?: string}} more */
  constructor(kind, message, more = {}) {
    super(message);
    this.kind = kind;
    this.code = more.code ?? kind;
    this.status = more.status ?? 0;
    this.retryAfterS = more.retryAfterS;
    this.requestId = more.requestId ?? "";
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return ["offline", "starting", "busy", "slow"].includes(this.kind);
  }
}

const KINDS = { 401: "key", 408: "slow", 429: "busy", 502: "starting", 503: "starting", 504: "slow" };

/**
 * @param {string} path Relative to the server.
 * @param {RequestInit} options As of `fetch`.
 * @returns {Promise<Response>} An answer with a status of success.
 * @throws {Failure} Everything else, but for the caller's own abort.
 */
export async function request(path, options = {}) {
  const headers = new Headers(options.headers);
  if (remembered) headers.set("X-API-Key", remembered);
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  let response;
  try {
    response = await fetch(url(path), { ...options, headers, signal, credentials: "omit", referrerPolicy: "no-referrer" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    if (limit.aborted) throw new Failure("slow", "The server took too long to answer.");
    throw new Failure("offline", "The server cannot be reached.");
  }
  if (!response.ok) throw await failureOf(response);
  return response;
}

/** As `request`, and reads the answer's JSON. @param {string} path @param {RequestInit} options @returns {Promise<any>} */
export async function json(path, options = {}) {
  const response = await request(path, options);
  try {
    return await response.json();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Failure("offline", "The connection broke off before the answer was complete.");
  }
}

async function failureOf(response) {
  const body = await response.json().catch(() => null);
  const detail = body?.error ?? {};
  const wait = Number(response.headers.get("Retry-After"));
  const kind = KINDS[response.status] ?? (response.status < 500 ? "refused" : "fault");
  return new Failure(kind, detail.message ?? `The server answered with status ${response.status}.`, {
    code: detail.code,
    status: response.status,
    retryAfterS: wait > 0 ? Math.min(wait, 120) : undefined,
    requestId: detail.request_id,
  });
}

/** @param {Blob} image @returns {RequestInit} A POST of one image. */
export function upload(image) {
  const form = new FormData();
  // The file's own name may name a patient; the server does not need it.
  form.append("image", image, "image");
  return { method: "POST", body: form };
}

/** Asks the server what it takes; keeps the defaults if it does not say. @returns {Promise<void>} */
export async function loadConfig() {
  Object.assign(config, await json("page/config.json"));
}

/** @returns {Promise<boolean>} Whether the model answers. @throws {Failure} The server cannot be reached. */
export async function ready() {
  try {
    await request("readyz", { cache: "no-store" });
    return true;
  } catch (error) {
    if (error instanceof Failure && error.kind !== "offline") return false;
    throw error;
  }
}

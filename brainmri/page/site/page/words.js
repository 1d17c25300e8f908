/** What the page says: a server's answers and errors in plain sentences. Pure functions. */

const NAMES = { glioma: "Glioma", meningioma: "Meningioma", notumor: "No tumour", pituitary: "Pituitary tumour" };
const LIKE = {
  glioma: "a glioma",
  meningioma: "a meningioma",
  notumor: "a slice without a tumour",
  pituitary: "a pituitary tumour",
};
const ABOUT = {
  glioma: "Gliomas grow from the supporting cells of the brain.",
  meningioma: "Meningiomas grow from the membranes around the brain.",
  notumor: "The model knows three kinds of tumour; this slice resembles the slices without one.",
  pituitary: "Pituitary tumours grow from the gland below the brain.",
};

/** The most classes with a column each; of more, the `LIKELIEST` share one. As in `brainmri/report/words.py`. */
const MOST_COLUMNS = 6;
const LIKELIEST = 3;

/** @param {string} label @returns {string} The label as a name, such as "No tumour"; an own label is its words, such as "Grade 2". */
export const nameOf = (label) => (Object.hasOwn(NAMES, label) ? NAMES[label] : capitalised(label.replaceAll("_", " ")));

const capitalised = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/** @param {any[]} answers Bodies of `/predict`, of one model or several. @returns {string[]} Every class that one of them names, once. */
export const labelsOf = (answers) => [...new Set(answers.flatMap((answer) => Object.keys(answer.probabilities)))];

/**
 * @param {string[]} labels Classes of the answers in a table.
 * @returns {{by: string, name: string, share: (answer: any) => number | undefined, text: (answer: any) => string}[]} The columns that tell their
 *   probabilities; `share` is what they are sorted by, and undefined for a class that the model of the answer does not have.
 */
export function columnsOf(labels) {
  if (labels.length > MOST_COLUMNS) return [{ by: "likeliest", name: "Likeliest", share: (answer) => answer.confidence, text: likeliest }];
  return labels.map((label) => {
    const share = (answer) => answer.probabilities[label];
    return { by: `probability_${label}`, name: nameOf(label), share, text: (answer) => (share(answer) === undefined ? "–" : exact(share(answer))) };
  });
}

/** @param {any} answer @returns {string} The likeliest classes with their probabilities, for where not all have room. */
export const likeliest = (answer) => ranked(answer).slice(0, LIKELIEST).map(([label, share]) => `${nameOf(label)} ${exact(share)}`).join(", ");

/** Whole per cent, which neither rounds up to certainty nor down to nothing. @param {number} share In [0, 1]. */
export function percent(share) {
  if (share > 0.995 && share < 1) return "more than 99 %";
  if (share < 0.005 && share > 0) return "less than 1 %";
  return `${Math.round(share * 100)} %`;
}

/** @param {number} share In [0, 1]. @returns {string} With one decimal, for bars and tables. */
export const exact = (share) => `${(share * 100).toFixed(1)} %`;

/**
 * @param {any} answer The body of `/predict`.
 * @returns {{tone: "sure" | "unsure" | "foreign", sentence: string, more: string}} The answer in words.
 */
export function inWords(answer) {
  if (answer.verdict === "not_a_brain_mri") return foreign(answer);
  if (answer.verdict === "unsure") {
    const likely = ranked(answer).filter(([, share], place) => place < 2 || share >= 0.2).slice(0, 3);
    const list = likely.map(([label, share]) => `${nameOf(label).toLowerCase()} ${percent(share)}`).join(", ");
    return { tone: "unsure", sentence: `Not sure: ${list}.`, more: "No class is likely enough to be named as the answer." };
  }
  // What a model of other classes means by one of these names is not known.
  const released = ranked(answer).length === Object.keys(NAMES).length && ranked(answer).every(([label]) => Object.hasOwn(NAMES, label));
  const like = released ? LIKE[answer.verdict] : nameOf(answer.verdict);
  return { tone: "sure", sentence: `Most like ${like}; ${percent(answer.confidence)} sure.`, more: released ? ABOUT[answer.verdict] : "" };
}

function foreign(answer) {
  const start = "This does not look like a brain MRI";
  if (answer.label === null) {
    const more = "The percentages below are what the network would say of any picture; they mean nothing here.";
    return { tone: "foreign", sentence: `${start}, so no class is given.`, more };
  }
  const more = `This server names a class for such pictures all the same: ${nameOf(answer.label).toLowerCase()}.`;
  return { tone: "foreign", sentence: `${start}.`, more };
}

/** @param {any} answer @returns {[string, number][]} Labels and probabilities, the most probable first. */
export const ranked = (answer) => Object.entries(answer.probabilities).sort((one, other) => other[1] - one[1]);

/** @param {any} answer @returns {string} The verdict in a word or two, for tables. */
export function shortVerdict(answer) {
  if (answer.verdict === "not_a_brain_mri") return "Not a brain MRI";
  return answer.verdict === "unsure" ? "Unsure" : nameOf(answer.verdict);
}

const TITLES = {
  image_too_large: "This image is too large",
  request_too_large: "This image is too large",
  image_empty: "This file is empty",
  image_unreadable: "This file cannot be read as an image",
  image_extreme_aspect: "This image does not have the shape of a slice",
  not_brain_mr: "This file is not a brain MRI",
  unauthenticated: "An API key is needed",
  cancelled: "Cancelled",
  file_gone: "This file can no longer be read",
  unanswered: "There is no answer yet",
};

/** What files say of an image that the server has still to answer for. */
export const UNANSWERED = { code: "unanswered", message: "The image was still waiting when this file was saved." };

/** @param {{code?: string, message: string}} failure @returns {{title: string, message: string}} */
export const errorWords = (failure) => ({
  title: TITLES[failure.code ?? ""] ?? "The server could not answer for this image",
  message: failure.message,
});

/** @param {number} bytes @returns {string} Such as "16 MiB". */
export function size(bytes) {
  if (bytes < 2 ** 20) return `${Math.max(1, Math.round(bytes / 1024))} KiB`;
  return `${(bytes / 2 ** 20).toFixed(bytes % 2 ** 20 ? 1 : 0)} MiB`;
}

/**
 * @param {number} bytes Above the limit. @param {number} most The limit.
 * @returns {[string, string]} Both as sizes, or in bytes where rounding would make them alike.
 */
export const sizes = (bytes, most) =>
  size(bytes) === size(most) ? [`${bytes} bytes`, `${most} bytes`] : [size(bytes), size(most)];

/** @param {number} count @param {string} noun @returns {string} Such as "1 image" or "3 images". */
export const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

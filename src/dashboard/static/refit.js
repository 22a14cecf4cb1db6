/**
 * The progress of a refit, and the comparison of two laws.
 *
 * @module refit
 */

import { change, events, familyPath, get, Problem } from "./api.js";
import { copyButtons } from "./copy.js";
import { announce, el, failure, fill, loading, table } from "./dom.js";
import { formatCount, formatFlops, formatInterval, formatLevel, formatLoss, formatNumber, formatPercent, formatTimes, plural } from "./numbers.js";

/** Description of a refit by its state. @type {Record<string, string>} */
export const STATES = { queued: "waiting for a worker", running: "running", succeeded: "done", failed: "failed", cancelled: "cancelled" };

/** Pause before a stream that ended or failed is opened again. */
const RECONNECT_MS = 1000;

/**
 * Shows a refit until it ends.
 *
 * @param {HTMLElement} node Element to show it in.
 * @param {string} id
 * @param {AbortSignal} signal Stops watching, but not the refit.
 * @param {boolean} mayCancel Whether the user may cancel it.
 * @returns {Promise<any | null>} The refit as it ended; null where watching ended first.
 */
export async function watchRefit(node, id, signal, mayCancel) {
  const bar = el("progress", { max: 1, value: 0, "aria-label": "Progress of the refit" });
  const text = el("p", {}, "Asking…");
  const cancel = el("button", { type: "button", on: { click: stop } }, "Cancel this refit");
  const trouble = el("div", {});
  fill(node, bar, text, mayCancel && el("p", { class: "buttons" }, cancel), trouble);

  async function stop() {
    cancel.disabled = true;
    try {
      show(await change("DELETE", `/v1/refits/${id}`));
    } catch (error) {
      cancel.disabled = false;
      fill(trouble, failure(error));
    }
  }

  let phase = "";
  /** @param {any} refit */
  function show(refit) {
    bar.value = refit.progress;
    fill(text, `${STATES[refit.state]}${refit.state === "running" ? `: ${refit.phase}, ${formatPercent(refit.progress, 0)}` : ""}`);
    if (refit.phase !== phase || refit.finished_at) announce(`Refit ${STATES[refit.state]}: ${refit.phase}`);
    phase = refit.phase;
    cancel.hidden = Boolean(refit.finished_at);
    bar.hidden = Boolean(refit.finished_at);
    if (refit.error) fill(trouble, failure(refit.error));
  }

  while (!signal.aborted) {
    try {
      for await (const { data: refit } of events(`/v1/refits/${id}/events`, signal)) {
        fill(trouble);
        show(refit);
        if (refit.finished_at) return refit;
      }
    } catch (error) {
      if (signal.aborted) return null;
      fill(trouble, failure(error));
      // The service would refuse it again.
      if (error instanceof Problem && error.status >= 400 && error.status < 500) return null;
    }
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
  return null;
}

/**
 * Compares an old law with a new one.
 *
 * @param {HTMLElement} node Element to show it in.
 * @param {string} family
 * @param {number} old Version of the old law.
 * @param {number} young Version of the new law.
 * @param {AbortSignal} signal
 * @param {string} [youngName] Name of the new law; by default its version.
 */
export async function showComparison(node, family, old, young, signal, youngName = `Law ${young}`) {
  fill(node, loading("Comparing…"));
  try {
    const answer = await get(familyPath(family, "/laws/compare"), { a: old, b: young }, signal);
    const asked = { method: /** @type {const} */ ("GET"), path: familyPath(family, "/laws/compare"), query: { a: old, b: young }, family, call: "compare" };
    fill(node, comparison(answer, old, young, youngName), copyButtons(asked));
  } catch (error) {
    if (!signal.aborted) fill(node, failure(error, () => showComparison(node, family, old, young, signal, youngName)));
  }
}

/**
 * Compares the answers of two laws to the same question, with their intervals.
 *
 * @param {HTMLElement} node Element to show it in.
 * @param {string} family
 * @param {{nonzero_params: number, compute: number, flop_mode: string, sparsity: number | null}} question
 * @param {{old: number, young: number, unit: string}} laws Versions of the laws, and their data unit.
 * @param {AbortSignal} signal
 */
export async function showAtPoint(node, family, { sparsity, ...question }, { old, young, unit }, signal) {
  fill(node, loading("Asking both laws…"));
  const ask = async (/** @type {number} */ law_version) => {
    const [best, own] = await Promise.all([
      get(familyPath(family, "/optimal-sparsity"), { ...question, law_version }, signal),
      sparsity === null ? null : get(familyPath(family, "/prediction"), { ...question, sparsity, law_version }, signal),
    ]);
    return { best, own };
  };
  try {
    const [a, b] = await Promise.all([ask(old), ask(young)]);
    const percent = (/** @type {number} */ v) => formatPercent(v);
    /** @type {[string, (answer: any) => number, (answer: any) => any, (v: number) => string][]} */
    const rows = [
      ["Best sparsity", ({ best }) => best.sparsity, ({ best }) => best.interval, percent],
      ["Loss at it", ({ best }) => best.loss, ({ best }) => best.intervals?.loss, formatLoss],
      ["Dense instead: loss", ({ best }) => best.dense?.loss ?? null, ({ best }) => best.intervals?.dense_loss, formatLoss],
    ];
    if (sparsity !== null) rows.push([`Loss at ${formatLevel(sparsity)}`, ({ own }) => own.loss, ({ own }) => own.interval, formatLoss]);
    const apart = (/** @type {any} */ x, /** @type {any} */ y) => (x && y ? x.high < y.low || y.high < x.low : null);
    fill(
      node,
      table({
        caption: `${formatCount(question.nonzero_params)} non-zero parameters, ${formatFlops(question.compute)}, ${question.flop_mode}: the calculator's question; small numbers are intervals`,
        columns: [{ text: "Answer" }, { text: `Law ${old}`, number: true }, { text: `What-if (law ${young})`, number: true }, { text: "Difference" }],
        rows: [
          ...rows.map(([text, value, interval, format]) => [text, withInterval(value(a), interval(a), format), withInterval(value(b), interval(b), format), apartBadge(apart(interval(a), interval(b)))]),
          [`Data at it, in ${unit}`, formatCount(a.best.data), formatCount(b.best.data), ""],
        ],
      }),
    );
  } catch (error) {
    if (!signal.aborted) fill(node, failure(error, () => showAtPoint(node, family, { ...question, sparsity }, { old, young, unit }, signal)));
  }
}

/** @param {boolean | null | undefined} apart @returns {HTMLElement | string} */
function apartBadge(apart) {
  if (apart === null || apart === undefined) return "not known";
  return apart ? el("span", { class: "badge warn" }, "beyond both intervals") : "within intervals";
}

/** @param {number} value @param {any} interval @param {(v: number) => string} format @returns {import("./dom.js").Child[]} */
function withInterval(value, interval, format) {
  return [format(value), interval && el("small", {}, ` ${formatInterval(interval, format)}`)];
}

/** @param {any} answer @param {number} old @param {number} young @param {string} b @returns {import("./dom.js").Child[]} */
function comparison(answer, old, young, b) {
  const a = `Law ${old}`;
  const percent = (/** @type {number} */ v) => formatPercent(v);
  const common = answer.common_runs;
  const moved = answer.optimal_sparsity.filter((/** @type {any} */ o) => o.apart).length;
  const biggest = answer.optimal_sparsity.reduce((/** @type {number} */ most, /** @type {any} */ o) => Math.max(most, Math.abs(o.a - o.b)), 0);
  return [
    el(
      "p",
      {},
      answer.optimal_sparsity.length > 0
        ? `Over ${plural(answer.optimal_sparsity.length, "question")} within the runs the best sparsity moves by at most ${(100 * biggest).toFixed(1)} points${answer.apart === null || answer.apart === undefined ? "" : `; in ${moved === 0 ? "none" : moved} of them beyond both intervals`}. `
        : "Their best sparsities cannot be compared: the runs of a law are not known. ",
      common && `On the ${plural(common.runs, "run")} that a refit would use now, law ${old} misses by ${formatNumber(common.a, 3)} and law ${young} by ${formatNumber(common.b, 3)} (mean Huber loss; the smaller the closer).`,
    ),
    table({
      caption: "Coefficients",
      columns: [{ text: "Coefficient" }, { text: a, number: true }, { text: b, number: true }, { text: "Ratio", number: true }, { text: "Difference" }],
      rows: answer.coefficients.map((/** @type {any} */ c) => [el("code", {}, c.coefficient), withInterval(c.a, c.a_interval, (v) => formatNumber(v)), withInterval(c.b, c.b_interval, (v) => formatNumber(v)), formatTimes(c.ratio), apartBadge(c.apart)]),
    }),
    answer.optimal_sparsity.length > 0 &&
      el(
        "details",
        {},
        el("summary", {}, "Best sparsities, question by question"),
        table({
          caption: "Best sparsities over the sizes and data of the runs",
          columns: [{ text: "Size" }, { text: "Compute", number: true }, { text: "Mode" }, { text: a, number: true }, { text: b, number: true }, { text: "Difference" }],
          rows: answer.optimal_sparsity.map((/** @type {any} */ o) => [formatCount(o.nonzero_params), formatFlops(o.compute), o.flop_mode, withInterval(o.a, o.a_interval, percent), withInterval(o.b, o.b_interval, percent), apartBadge(o.apart)]),
        }),
      ),
  ];
}

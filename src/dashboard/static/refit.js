/**
 * A refit as it goes on, and the comparison of two laws.
 *
 * @module refit
 */

import { change, events, familyPath, get, Problem } from "./api.js";
import { announce, el, failure, fill, loading, table } from "./dom.js";
import { formatCount, formatFlops, formatInterval, formatNumber, formatPercent, formatTimes, plural } from "./numbers.js";

/** @type {Record<string, string>} */
const STATES = { queued: "waiting for a worker", running: "running", succeeded: "done", failed: "failed", cancelled: "cancelled" };

/** After this long without an answer the stream is asked for again. */
const RECONNECT_MS = 1000;

/**
 * Shows a refit until it ends.
 *
 * @param {HTMLElement} node Where.
 * @param {string} id
 * @param {AbortSignal} signal Stops watching, not the refit.
 * @returns {Promise<any | null>} The refit as it ended; null where watching ended first.
 */
export async function watchRefit(node, id, signal) {
  const bar = el("progress", { max: 1, value: 0, "aria-label": "Progress of the refit" });
  const text = el("p", {}, "Asking…");
  const cancel = el("button", { type: "button", on: { click: stop } }, "Cancel this refit");
  const trouble = el("div", {});
  fill(node, bar, text, el("p", { class: "buttons" }, cancel), trouble);

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
      for await (const refit of events(`/v1/refits/${id}/events`, signal)) {
        fill(trouble);
        show(refit);
        if (refit.finished_at) return refit;
      }
    } catch (error) {
      if (signal.aborted) return null;
      fill(trouble, failure(error));
      // What the service refused, it will refuse again.
      if (error instanceof Problem && error.status >= 400 && error.status < 500) return null;
    }
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
  return null;
}

/**
 * An old law against a new one.
 *
 * @param {HTMLElement} node Where.
 * @param {string} family
 * @param {number} old Version.
 * @param {number} young Version.
 * @param {AbortSignal} signal
 */
export async function showComparison(node, family, old, young, signal) {
  fill(node, loading("Comparing…"));
  try {
    const answer = await get(familyPath(family, "/laws/compare"), { a: old, b: young }, signal);
    fill(node, comparison(answer, old, young));
  } catch (error) {
    if (!signal.aborted) fill(node, failure(error, () => showComparison(node, family, old, young, signal)));
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

/** @param {any} answer @param {number} old @param {number} young @returns {import("./dom.js").Child[]} */
function comparison(answer, old, young) {
  const [a, b] = [`Law ${old}`, `Law ${young}`];
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

/**
 * The calculator and the four pictures.
 *
 * @module views/answer
 */

import { familyPath, get, list } from "../api.js";
import { copyButtons } from "../copy.js";
import { announce, el, empty, failure, field, fill } from "../dom.js";
import { contoursDetails, fitDetails, gainDetails, lossDetails } from "../figures.js";
import { levelSelect, modeSelect, numberField, settled } from "../inputs.js";
import { formatCount, formatFlops, formatInterval, formatLevel, formatLoss, formatNumber, formatPercent, formatTimes, parseFraction, parseNumber, plural } from "../numbers.js";
import { picture } from "../plots.js";
import { address, go, note, params } from "../url.js";
import { extrapolation, levelName, meaning } from "../words.js";
import { trustLine, warningNotes } from "./families.js";

/** Most runs that the service draws. */
const MOST_DRAWN = 10_000;
/** How long typing must pause before the question is asked. */
const REST_MS = 200;

/** @param {HTMLElement} main @param {import("./family.js").Context} context */
export function showAnswer(main, context) {
  const { name, family, law, signal } = context;
  if (!law) {
    fill(main, el("section", { class: "panel" }, el("h2", {}, "No law answers yet"), empty("Upload finished training runs, and refit: the law that comes of it answers here."), el("p", { class: "buttons" }, el("a", { class: "button primary", href: address({ view: "upload" }) }, "Upload runs"), el("a", { class: "button", href: address({ view: "laws" }) }, "Refit"))));
    return;
  }
  const asked = params();
  const example = exampleOf(law);
  const size = numberField({ label: "Non-zero parameters", name: "n", value: asked.get("n") ?? example.size, format: formatCount, min: 1, max: 1e18, required: true });
  const compute = numberField({ label: "Training compute", name: "c", value: asked.get("c") ?? example.compute, format: formatFlops, min: 1, max: 1e40, required: true });
  const own = numberField({ label: "Sparsity to compare", name: "s", value: asked.get("s") ?? "", format: formatLevel, min: 0, max: 1, fraction: true, placeholder: "none", hint: "Optional: 75 % or 0.75" });
  const level = levelSelect(law, asked.get("level") ?? "");
  const most = numberField({ label: "Sparsity at most", name: "most", value: asked.get("most") ?? "", format: formatLevel, min: 0, max: 1, fraction: true, placeholder: "none", hint: "Where zeros cost nothing from the first step on" });
  const mode = modeSelect(asked.get("mode") ?? "sparse");
  const output = el("div", { class: "answer", "aria-live": "off" }, el("p", { class: "state" }, "Asking…"));
  const form = el(
    "form",
    { class: "form", on: { submit: (/** @type {Event} */ event) => { event.preventDefault(); ask(); } } },
    size.node,
    compute.node,
    el("div", { class: "wide" }, field("What a step costs", mode)),
    own.node,
    level && el("div", {}, field("Its pattern or recipe", level)),
    most.node,
    el("button", { class: "unseen", type: "submit", tabindex: "-1" }, "Ask"),
  );

  /** @type {Map<string, string>} Kinds of axes by picture, where they differ from the default. */
  const chosen = new Map((asked.get("axes") ?? "").split(",").filter(Boolean).map((entry) => /** @type {[string, string]} */ (entry.split("."))));
  /** @param {string} key @param {string} title @param {[string, string][]} choices The first is the default. */
  const frame = (key, title, choices) =>
    picture({
      title, name: key, choices, axes: chosen.get(key) ?? "", signal, onLink: go,
      onAxes: (now) => {
        if (now === "") chosen.delete(key);
        else chosen.set(key, now);
        note({ axes: [...chosen].map((entry) => entry.join(".")).join(",") });
      },
    });
  const pictures = {
    contours: frame("contours", "Contours of the best sparsity", [["", "log"], ["linear", "linear"]]),
    loss: frame("loss", "Loss against sparsity", [["", "even in density (log)"], ["linear", "even in sparsity"]]),
    fit: frame("fit", "Fit quality", [["", "usual"], ["linear", "linear"], ["log", "log"], ["residuals", "residuals"]]),
    gain: frame("gain", "Gain", [["", "even in sparsity"], ["density", "even in density (log)"]]),
  };
  const drawings = el("div", { class: "pictures" }, Object.values(pictures).map((p) => p.node));
  fill(
    main,
    el(
      "div",
      { class: "columns" },
      el("section", { class: "panel aside", "aria-labelledby": "calculator" }, el("h2", { id: "calculator" }, "How sparse?"), form, output),
      drawings,
    ),
  );

  /** Aborts a question when another one replaces it. */
  let question = new AbortController();
  signal.addEventListener("abort", () => question.abort());

  async function ask() {
    const [n, c, s, bound] = [size.read(), compute.read(), own.read(), most.read()];
    if (!size.ok() || !compute.ok() || !own.ok() || !most.ok() || n === null || c === null) {
      fill(output, el("p", { class: "state" }, "Give a size and a budget: 70M and 1e21, say."));
      return;
    }
    question.abort();
    question = new AbortController();
    if (signal.aborted) return;
    const now = question.signal;
    note({ n: size.input.value.trim(), c: compute.input.value.trim(), mode: mode.value, s: own.input.value.trim(), most: most.input.value.trim(), level: level?.value || null });
    output.classList.add("old");
    try {
      const query = { nonzero_params: n, compute: c, flop_mode: mode.value };
      const compared = { ...query, sparsity: s, level: level?.value || undefined };
      const [answer, prediction] = await Promise.all([
        get(familyPath(name, "/optimal-sparsity"), bound === null ? query : { ...query, max_sparsity: bound }, now),
        s === null ? null : get(familyPath(name, "/prediction"), compared, now),
      ]);
      fill(output, answerOf(answer, prediction, s, context), copyButtons({ method: "GET", path: familyPath(name, "/optimal-sparsity"), query: { ...query, max_sparsity: bound }, family: name, call: "optimal_sparsity" }, s === null ? "" : "the best sparsity"), s !== null && copyButtons({ method: "GET", path: familyPath(name, "/prediction"), query: compared, family: name, call: "predict" }, `the loss at ${formatLevel(s)}`));
      for (const part of [output, drawings]) part.classList.toggle("untrusted", answer.trust.level === "none");
      output.classList.remove("old");
      if (performance.getEntriesByName("first-answer").length === 0) performance.mark("first-answer");
      announce(`${meaning(answer)} Loss ${formatLoss(answer.loss)}.`);
      draw(answer, prediction && { ...prediction, sparsity: s }, { query, bound }, now);
    } catch (error) {
      if (now.aborted) return;
      output.classList.remove("old");
      const undetermined = /** @type {any} */ (error).status === 409;
      for (const part of [output, drawings]) part.classList.remove("untrusted");
      fill(output, failure(error, undetermined ? undefined : ask), undetermined && el("p", { class: "buttons" }, el("a", { class: "button", href: address({ view: "next" }) }, "What to run next")));
      for (const key of /** @type {const} */ (["contours", "loss", "gain"])) pictures[key].say("No picture without an answer.");
    }
  }

  /** @param {any} answer @param {any} mine @param {{query: any, bound: number | null}} asked @param {AbortSignal} now */
  function draw(answer, mine, { query, bound }, now) {
    const mark = `${query.nonzero_params},${query.compute}`;
    show("contours", "/contours", { flop_mode: query.flop_mode, points: 49 }, { mark }, now, (contours) => contoursDetails(contours, { ...query, sparsity: answer.sparsity, trusted: answer.trust.level !== "none" }));
    show("loss", "/loss-by-sparsity", { ...query, ...(bound === null ? {} : { max_sparsity: bound }), points: 61 }, { mark: mine?.sparsity }, now, (loss) => lossDetails(loss, { pattern: answer.pattern, own: mine }, family.data_unit));
    show("gain", "/gain", { sparsities: GAIN_SPARSITIES }, { mark: answer.sparsity, sparsities: undefined }, now, (gain) => gainDetails(gain, answer));
  }

  /**
   * Lets the service draw an answer, and shows the details of what is in it.
   *
   * @param {"contours" | "loss" | "gain"} key
   * @param {string} path Path below the family.
   * @param {import("../api.js").Query} query
   * @param {import("../api.js").Query} drawn Further parameters of the picture.
   * @param {AbortSignal} now
   * @param {(answer: any) => import("../plots.js").Details} say
   */
  function show(key, path, query, drawn, now, say) {
    const from = familyPath(name, path);
    /** @type {Promise<any> | null} Fetched once, however often it is drawn. */
    let answer = null;
    const call = /** @type {const} */ ({ contours: "contours", loss: "loss_by_sparsity", gain: "gain" })[key];
    // The gain's sparsities are the client's default too, so they are left out of the copied question.
    const copied = key === "gain" ? {} : query;
    pictures[key].show(() => ({ path: from, query: { ...query, ...drawn }, asked: { method: "GET", path: from, query: copied, family: name, call }, details: (answer ??= get(from, query, now)).then(say, (error) => { answer = null; throw error; }) }));
  }

  /** @type {Promise<any> | null} */
  let runs = null;
  pictures.fit.show((axes) => {
    const path = familyPath(name, "/fit-quality");
    runs ??= list(path, {}, { most: MOST_DRAWN, signal });
    const about = { unit: family.data_unit, total: law.runs, residuals: axes === "residuals" };
    return { path, asked: { method: "GET", path, family: name, call: "fit_quality" }, details: runs.then(({ items, first }) => fitDetails({ ...first, items }, about), (error) => { runs = null; throw error; }) };
  });
  const rested = settled(ask, REST_MS);
  [size, compute, own, most].forEach(({ input }) => input.addEventListener("input", rested));
  mode.addEventListener("change", ask);
  level?.addEventListener("change", ask);
  ask();
}

/** Evenly spaced in the logarithm of the density, because the curve bends near 1. */
const GAIN_SPARSITIES = Array.from({ length: 49 }, (_, i) => (1 - 2 ** (-i / 8)).toFixed(6)).join(",");

/**
 * The calculator's question: from the address, or else about the law's largest runs.
 *
 * @param {any} law
 * @returns {{nonzero_params: number, compute: number, flop_mode: string, sparsity: number | null}}
 */
export function questionOf(law) {
  const asked = params();
  const example = exampleOf(law);
  const read = (/** @type {string} */ key, /** @type {string} */ otherwise) => {
    const given = parseNumber(asked.get(key) ?? "");
    return given > 0 ? given : parseNumber(otherwise);
  };
  const sparsity = asked.has("s") ? parseFraction(asked.get("s") ?? "") : NaN;
  return {
    nonzero_params: read("n", example.size),
    compute: read("c", example.compute),
    flop_mode: asked.get("mode") ?? "sparse",
    sparsity: sparsity >= 0 && sparsity < 1 ? sparsity : null,
  };
}

/** @param {any} law @returns {{size: string, compute: string}} A question about the law's largest runs. */
function exampleOf(law) {
  if (law.support.length === 0) return { size: "100M", compute: "1e20" };
  const size = Math.max(...law.support.map((/** @type {any} */ level) => level.nonzero_params.max));
  const data = Math.max(...law.support.map((/** @type {any} */ level) => level.data.max));
  const compute = size * data * law.flops_per_param;
  return { size: formatCount(size), compute: compute.toExponential(0).replace("e+", "e") };
}

/**
 * Presents an answer for people.
 *
 * @param {any} answer Answer of `optimal-sparsity`.
 * @param {any} prediction Prediction at a sparsity chosen by the user.
 * @param {number | null} own That sparsity.
 * @param {import("./family.js").Context} context
 * @returns {import("../dom.js").Child[]}
 */
function answerOf(answer, prediction, own, { family, law }) {
  const percent = (/** @type {number} */ value) => formatPercent(value);
  const unit = family.data_unit;
  const tokens = family.tokens_per_data_unit;
  const data = (/** @type {number} */ value) => [`${formatCount(value)} ${unit}`, tokens && tokens !== 1 && unit !== "tokens" && el("small", {}, ` = ${formatCount(value * tokens)} tokens`)];
  /** @param {any} interval @param {(v: number) => string} format */
  const range = (interval, format) => (interval ? el("small", {}, ` ${formatInterval(interval, format)}`) : null);
  /** @type {[import("../dom.js").Child, import("../dom.js").Child][]} */
  const pairs = [
    ["Predicted loss", [formatLoss(answer.loss), range(answer.intervals?.loss, formatLoss)]],
    ["Data", data(answer.data)],
    [answer.active_params ? "Parameters, all experts" : "Parameters with zeros", formatCount(answer.total_params)],
  ];
  // Laws of levels may know no dense model, and for laws of experts no dense model may be as good.
  if (answer.gain !== null) pairs.push(["Worth a dense model of", [formatTimes(answer.gain), range(answer.intervals?.gain, formatTimes)]]);
  if (answer.chinchilla_ratio !== null) pairs.push(["Compute over Chinchilla's", [formatTimes(answer.chinchilla_ratio), range(answer.intervals?.chinchilla_ratio, formatTimes)]]);
  if (answer.dense) {
    pairs.push(["Dense instead: loss", [formatLoss(answer.dense.loss), range(answer.intervals?.dense_loss, formatLoss)]]);
    pairs.push(["Dense instead: data", data(answer.dense.data)]);
  }
  if (answer.active_params) pairs.unshift(["Active parameters", formatCount(answer.active_params)]);
  if (answer.binding.length > 0) pairs.push(["More zeros are kept away by", answer.binding.join(", ").replaceAll("_", " ")]);
  if (answer.budget.device_hours !== null) {
    pairs.push(["Device hours", formatCount(answer.budget.device_hours)], ["Days of all devices", formatNumber(answer.budget.days, 3)]);
  }
  if (answer.budget.cost !== null) pairs.push(["Price of these hours", formatCount(answer.budget.cost)]);
  for (const level of answer.measured_levels ?? []) {
    pairs.push([`Measured, ${formatLevel(level.sparsity)}${level.level ? ` (${level.level})` : ""}: loss`, [formatLoss(level.loss), range(level.interval, formatLoss), level.share !== null && el("small", {}, ` best in ${formatLevel(level.share)} of the resamples`)]]);
  }
  if (answer.pattern) {
    const { pattern } = answer;
    const signed = (/** @type {number} */ value) => `${value >= 0 ? "+" : "−"}${formatNumber(Math.abs(value), 2)}`;
    const excess = pattern.excess_loss_interval;
    pairs.push(
      [pattern.name === "dense" ? "Best pattern: none, dense" : `Best pattern: ${pattern.name}`, [formatLoss(pattern.loss), range(pattern.interval, formatLoss)]],
      ["Its loss over the best", [signed(pattern.excess_loss), excess && el("small", {}, ` ${signed(excess.low)} to ${signed(excess.high)}`)]],
    );
  }
  if (prediction) {
    pairs.push(
      [`At ${formatLevel(own ?? 0)}: loss`, [formatLoss(prediction.loss), range(prediction.interval, formatLoss)]],
      [`At ${formatLevel(own ?? 0)}: a new run`, prediction.prediction_interval ? formatInterval(prediction.prediction_interval, formatLoss) : "no interval"],
      [`At ${formatLevel(own ?? 0)}: data`, data(prediction.data)],
    );
  }
  const beyond = [...answer.extrapolation.map(extrapolation), ...(prediction?.extrapolation ?? []).map((/** @type {any} */ entry) => `at ${formatLevel(own ?? 0)}, ${extrapolation(entry)}`)];
  const warnings = [...answer.warnings, ...(prediction?.warnings ?? [])];
  const untrusted = answer.trust.level === "none";
  const headline = el("p", { class: "headline" }, formatPercent(answer.sparsity), " ", el("small", {}, answer.interval ? `${formatInterval(answer.interval, percent)}, ${levelName(answer.interval)}` : answer.best_measured_level ? "the best of the measured sparsities" : "no interval: this law has none"));
  const numbers = el("dl", { class: "pairs" }, pairs.map(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));
  return [
    // Warn about an untrusted answer before showing it.
    untrusted && el("div", { class: "warning" }, trustLine(answer.trust), el("p", {}, el("a", { href: address({ view: "next" }) }, "Which runs would settle it?"))),
    !untrusted && [headline, trustLine(answer.trust)],
    el("p", { class: "means" }, meaning(answer)),
    prediction && prediction.trust.level !== answer.trust.level && el("div", {}, `At ${formatLevel(own ?? 0)}: `, trustLine(prediction.trust)),
    untrusted ? el("details", {}, el("summary", {}, "Its numbers all the same"), headline, numbers) : numbers,
    beyond.length > 0 && el("div", { class: "notes" }, el("h3", {}, "Beyond the data"), el("ul", {}, beyond.map((text) => el("li", {}, text)))),
    warningNotes(warnings, { level: answer.trust.level, because: [...answer.trust.because, ...(prediction?.trust.because ?? [])] }),
    el("p", { class: "foot" }, `By law ${answer.law.version}, ${answer.law.source === "fit" ? "fitted" : "published"}${answer.law.version === law.version && law.runs ? ` from ${plural(law.runs, "run")}` : ""}${answer.intervals ? "; small numbers are intervals" : ""}.`),
  ];
}

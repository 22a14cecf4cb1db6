/**
 * A law: its coefficients, the range of its runs, and the diagnostics of its fit.
 *
 * @module views/law
 */

import { familyPath } from "../api.js";
import { copyButtons } from "../copy.js";
import { el, table } from "../dom.js";
import { formatCount, formatInterval, formatLevel, formatNumber, formatPercent, formatWhole, plural } from "../numbers.js";
import { levelName } from "../words.js";
import { trustLine } from "./families.js";

/** What was held out from the fit, from the given limit on. @type {Record<string, (limit: number) => string>} */
const LEFT_OUT = {
  nonzero_params: (limit) => `models from ${formatCount(limit)} on`,
  data: (limit) => `data from ${formatCount(limit)} on`,
  sparsity: (limit) => `sparsities from ${formatLevel(limit)} on`,
  rolling: (limit) => `models of ${formatCount(limit)}, by smaller ones`,
};

/** @param {any} law @returns {(residual: number) => string} Differences of logarithms are shown as relative errors. */
function residualIn(law) {
  return law.options?.objective?.residual === "linear" ? (residual) => formatNumber(residual, 2) : (residual) => formatPercent(residual, 2);
}

/**
 * @param {string} family
 * @param {any} law
 * @returns {import("../dom.js").Child[]}
 */
export function lawDetails(family, law) {
  const said = law.diagnostics;
  return [
    law.reference && el("p", {}, law.reference),
    trustLine(law.trust),
    settlingTable(law),
    el("div", { class: "side" }, coefficientTable(law), law.support.length > 0 && supportTable(law)),
    law.warnings.length > 0 && el("div", { class: "notes" }, el("h3", {}, "What its runs cannot tell"), el("ul", {}, law.warnings.map((/** @type {any} */ w) => el("li", {}, w.detail)))),
    said && el("div", { class: "side" }, holdoutTable(law), fitFacts(law)),
    law.rivals && rivalTable(law),
    el(
      "div",
      { class: "more" },
      said?.correlations && el("details", {}, el("summary", {}, "Correlations of the coefficients"), correlationTable(said.correlations)),
      law.options && el("details", {}, el("summary", {}, "Options of the fit"), optionList(law)),
    ),
    copyButtons({ method: "GET", path: familyPath(family, `/laws/${law.version}`), named: { version: law.version }, family, call: "law" }),
  ];
}

/** @param {any} law @returns {HTMLElement} */
function coefficientTable(law) {
  const profiles = new Map((law.diagnostics?.profiles ?? []).map((/** @type {any} */ profile) => [profile.coefficient, profile]));
  // An end below a millionth of the other one is shown as 0: its digits mean nothing.
  const range = (/** @type {any} */ interval) => formatInterval(interval, (v) => (v < 1e-6 * interval.high ? "0" : formatNumber(v))) || "none";
  return table({
    caption: `Coefficients${law.intervals?.a_s ? `, ${levelName(law.intervals.a_s)}s` : ""}`,
    columns: [{ text: "Coefficient" }, { text: "Value", number: true }, { text: profiles.size > 0 ? "By resampling" : "Interval", number: true }, ...(profiles.size > 0 ? [{ text: "By its profile", number: true }] : [])],
    rows: Object.entries(law.coefficients).map(([key, value]) => [
      el("code", {}, key),
      value === null ? "not known" : formatNumber(value, 6),
      range(law.intervals?.[key]),
      ...(profiles.size > 0 ? [profiles.has(key) ? range(profiles.get(key)) : ""] : []),
    ]),
  });
}

/** @param {any} law @returns {HTMLElement} */
function supportTable(law) {
  return table({
    caption: `What its runs cover; data in ${law.data_unit}`,
    columns: [{ text: "Sparsity" }, { text: "Runs", number: true }, { text: "Non-zero", number: true }, { text: "Data", number: true }],
    rows: law.support.map((/** @type {any} */ level) => [formatLevel(level.sparsity), formatWhole(level.runs), span(level.nonzero_params), span(level.data)]),
  });
}

/** @param {any} law @returns {HTMLElement | false} */
function holdoutTable(law) {
  const holdouts = law.diagnostics.holdouts ?? [];
  if (holdouts.length === 0) return false;
  const residual = residualIn(law);
  const none = el("span", { title: "The other runs determine no law." }, "none");
  return table({
    caption: "How well laws of the other runs predict those that were left out",
    columns: [{ text: "Left out" }, { text: "Runs", number: true }, { text: "Error", number: true }, { text: "Bias", number: true }],
    rows: holdouts.map((/** @type {any} */ one) => [
      LEFT_OUT[one.holdout]?.(one.limit) ?? one.holdout.replaceAll("_", " "),
      `${one.runs} of ${one.runs + one.fitted_runs}`,
      one.rms === null ? none : residual(one.rms),
      one.bias === null ? "" : `${one.bias >= 0 ? "+" : "−"}${residual(Math.abs(one.bias))}`,
    ]),
  });
}

/** @param {any} law @returns {HTMLElement} */
function fitFacts(law) {
  const said = law.diagnostics;
  const residual = residualIn(law);
  const known = (/** @type {any} */ value) => value !== null && value !== undefined;
  /** @type {[string, import("../dom.js").Child][]} */
  const facts = [];
  if (known(said.noise)) facts.push(["A run scatters about it by", residual(said.noise)]);
  if (said.starts?.length > 0) facts.push(["Starts that agree with the best", `${Math.round(said.agreement * said.starts.length)} of ${said.starts.length}`]);
  if (known(said.resamples)) facts.push(["Resamples", [`${formatWhole(said.resamples)} fitted`, said.failed_resamples > 0 && `, ${formatWhole(said.failed_resamples)} determined no law`]]);
  if (known(said.gain_slope)) facts.push(["Slope of the gain at sparsity 0", [formatNumber(said.gain_slope, 3), said.gain_slope > 1 && el("small", {}, " above 1 is not physical")]]);
  if (known(said.condition)) facts.push(["Condition of the fit", formatNumber(said.condition, 3)]);
  if (known(said.clusters)) facts.push(["Clusters of runs", String(typeof said.clusters === "object" ? said.clusters.count ?? "" : said.clusters)]);
  return el("div", {}, el("p", { class: "caption" }, "What the fit says of itself"), el("dl", { class: "pairs" }, facts.filter(([, value]) => value !== "").map(([term, value]) => [el("dt", {}, term), el("dd", {}, value)])));
}

/** @param {any} law @returns {HTMLElement} */
function rivalTable({ rivals, form, options }) {
  const residual = residualIn({ options });
  return el(
    "div",
    { class: "apart" },
    table({
      caption: `Other forms of the law, by ${plural(rivals.predictions, "prediction")} of runs that were left out`,
      columns: [{ text: "Form" }, { text: "Coefficients", number: true }, { text: "Error", number: true }, { text: "Objective", number: true }, { text: "Beside this law" }],
      rows: rivals.forms.map((/** @type {any} */ rival) => [
        rival.form.replaceAll("_", " "),
        rival.coefficients,
        rival.holdout_error === null ? "not known" : [residual(rival.holdout_error), rival.interval && el("small", {}, ` ${formatInterval(rival.interval, residual)}`)],
        formatNumber(rival.objective, 3),
        rival.form === form ? "this law" : rival.no_worse ? el("span", { class: "badge warn" }, "no worse") : "worse",
      ]),
    }),
    rivals.refused.length > 0 && el("ul", { class: "plain" }, rivals.refused.map((/** @type {any} */ one) => el("li", {}, `${one.form.replaceAll("_", " ")}: ${one.reason}`))),
  );
}

/** @param {{coefficients: string[], matrix: number[][]}} correlations @returns {HTMLElement} */
function correlationTable({ coefficients, matrix }) {
  return table({
    caption: "Correlations; near 1 or −1 the runs determine the two together rather than one by one",
    columns: [{ text: "With" }, ...coefficients.map((text) => ({ text, number: true }))],
    rows: coefficients.map((name, i) => [el("code", {}, name), ...matrix[i].slice(0, i + 1).map((value) => (Math.abs(value) > NEAR_ONE && value !== 1 ? el("strong", {}, value.toFixed(2).replace("-", "−")) : value.toFixed(2).replace("-", "−"))), ...Array(coefficients.length - i - 1).fill("")]),
  });
}

/** From this correlation on, two coefficients can hardly be told apart. */
const NEAR_ONE = 0.95;

/** @param {any} law @returns {HTMLElement} */
function optionList({ options, data_unit: unit, flops_per_param: flops, pruning, data_digest: digest }) {
  const values = { ...options, data_unit: unit, flops_per_param: flops, pruning, data_digest: digest };
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && !(typeof value === "object" && Object.keys(value).length === 0));
  return el("dl", { class: "pairs options" }, given.map(([name, value]) => [el("dt", {}, el("code", {}, name)), el("dd", {}, typeof value === "object" ? el("code", {}, JSON.stringify(value)) : String(value))]));
}

/** @param {{min: number, max: number}} range @returns {string} */
function span({ min, max }) {
  return min === max ? formatCount(min) : `${formatCount(min)}–${formatCount(max)}`;
}

/**
 * The runs that would determine what the runs of a law leave open.
 *
 * @param {any} law
 * @returns {HTMLElement | false}
 */
function settlingTable(law) {
  const suggestions = law.diagnostics?.identification?.suggestions ?? [];
  return (
    suggestions.length > 0 &&
    table({
      caption: "The cheapest runs that would determine every coefficient",
      columns: [{ text: "Non-zero parameters", number: true }, { text: "Sparsity", number: true }, { text: "Data", number: true }],
      rows: suggestions.map((/** @type {any} */ run) => [formatCount(run.nonzero_params), formatLevel(run.sparsity), `${formatCount(run.data)} ${law.data_unit}`]),
    })
  );
}

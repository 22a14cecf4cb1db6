/**
 * Answers in words.
 *
 * @module words
 */

import { formatCount, formatFlops, formatInterval, formatLevel, formatNumber, formatPercent, formatWhole, plural } from "./numbers.js";

/** @param {number} value @returns {string} A rough factor: `1.8×`. */
const times = (value) => `${formatNumber(value, 3)}×`;

/**
 * What an optimal sparsity means. A recommendation is made only if the answer can be trusted.
 *
 * @param {any} answer Answer of `optimal-sparsity`.
 * @returns {string} Such as `Train 1.8× longer than Chinchilla: 52 % sparse, 45–58 %.`
 */
export function meaning(answer) {
  const whole = (/** @type {number} */ value) => formatPercent(value, value > 0.9 ? undefined : 0);
  const { interval, sparsity, chinchilla_ratio: ratio } = answer;
  const what = sparsity === 0 ? "a dense model" : `${whole(sparsity)} sparse`;
  if (answer.trust.level === "none") {
    const range = interval && interval.high > interval.low ? `; anything from ${whole(interval.low)} to ${whole(interval.high)} could be` : "";
    return `The runs do not settle what is best. The law's guess is ${what}${range}.`;
  }
  const length =
    ratio > 1.05 ? `${times(ratio)} longer than Chinchilla`
    : ratio < 0.95 ? `${times(ratio)} as long as Chinchilla`
    : "about as long as Chinchilla";
  const start = answer.trust.level === "good" ? `Train ${length}` : `Probably best, trained ${length}`;
  if (sparsity === 0) {
    const zeros = interval && interval.high > 0 ? `; up to ${whole(interval.high)} sparse is within the interval` : "";
    return `${start}: dense${answer.trust.level === "good" ? " is best" : ""}, zeros do not lower the loss${zeros}.`;
  }
  const range = interval ? `, ${formatInterval(interval, whole)}` : "";
  return `${start}: ${what}${range}.`;
}

/** Reasons by their codes, which are anchors of the manual's page on trust. @type {Record<string, string>} */
export const REASONS = {
  not_identified: "the runs do not determine every coefficient",
  few_clusters: "hardly more clusters of runs than coefficients",
  lack_of_fit: "the runs scatter about the law by groups",
  extrapolates_badly: "laws of the smaller runs mispredict the larger ones",
  checkpoints: "some runs look like checkpoints of one training",
  duplicates: "some measurements are there more than once",
  unmeasured_pattern: "a pattern has no runs of its own",
  not_checked: "how well the law fits its runs was not checked",
  not_optimum: "the coefficients are not the best for their own runs",
  wide_interval: "the interval is wide",
  no_intervals: "there is no interval",
  extrapolation: "it lies far outside the runs",
  collinear: "size and data of the runs go together",
  starts_disagree: "starts of the fit disagree",
  resamples_failed: "many resamples determined no law",
  forecasts_missed: "fewer forecasts by this law came true than promised",
  borrowed_gain: "what sparsity does is taken from another family's law",
  forms_disagree: "another form of the law, no worse, has another answer",
};

/** @type {Record<string, string>} */
const TRUST = { good: "can be trusted", weak: "weak", none: "not to be acted on" };

/**
 * How far an answer can be trusted.
 *
 * @param {{level: string, because: string[]}} trust
 * @returns {string} Such as `weak: the interval is wide; size and data of the runs go together`.
 */
export function trustInWords({ level, because }) {
  const reasons = because.map((code) => REASONS[code] ?? code);
  return `${TRUST[level] ?? level}${reasons.length > 0 ? `: ${reasons.join("; ")}` : ""}`;
}

/** @type {Record<string, string>} */
const VARIABLES = { nonzero_params: "size", sparsity: "sparsity", data: "data", compute: "compute" };

/**
 * Where a question lies outside the range of the runs behind the law.
 *
 * @param {{variable: string, factor: number, limit: number, side: string}} entry
 * @returns {string} Such as `data: 2.4× beyond the largest of the runs (65.5B)`.
 */
export function extrapolation({ variable, factor, limit, side }) {
  const name = VARIABLES[variable] ?? variable;
  const end = side === "above" ? "largest" : "smallest";
  if (variable === "sparsity") {
    return `${name}: ${side === "above" ? "sparser" : "denser"} than any run (${formatLevel(limit)}), with ${times(factor)} ${side === "above" ? "fewer" : "more"} of the weights left`;
  }
  const shown = variable === "compute" ? formatFlops(limit) : formatCount(limit);
  return side === "above"
    ? `${name}: ${times(factor)} beyond the ${end} of the runs (${shown})`
    : `${name}: ${times(factor)} below the ${end} of the runs (${shown})`;
}

/** @param {any} value Value of an option. @returns {string} The value in a few letters. */
function optionValue(value) {
  if (value === null || value === undefined) return "none";
  if (typeof value === "number") return formatNumber(value, 6);
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(optionValue).join(", ");
  if (typeof value !== "object") return String(value);
  const entries = Object.entries(value).filter(([, entry]) => entry !== null && entry !== undefined);
  return entries.length === 0 ? "none" : entries.map(([key, entry]) => `${key} ${optionValue(entry)}`).join(", ");
}

/**
 * What changed from one law to the next.
 *
 * @param {any} changes From the history of an answer; null for the first law.
 * @param {string} source Source of the law: `fit` or `published`.
 * @returns {string[]} Such as `12 runs added, 1 removed` and `bootstrap: 1,000 → 2,000`.
 */
export function changesInWords(changes, source) {
  if (!changes) return ["The first law."];
  const { runs, options } = changes;
  const counts = runs ? [[runs.added, "added"], [runs.removed, "removed"], [runs.changed, "measured otherwise"]].filter(([count]) => count > 0) : [];
  const ofRuns = runs === null ? (source === "published" ? "Published elsewhere: its runs are not here." : "Its runs cannot be compared with those of the law before.") : counts.length === 0 ? "The same runs." : `${counts.map(([count, what], i) => `${i === 0 ? plural(count, "run") : formatWhole(count)} ${what}`).join(", ")}.`;
  return [ofRuns, ...options.map((/** @type {any} */ change) => `${change.option.replaceAll("_", " ")}: ${optionValue(change.before)} → ${optionValue(change.after)}`)];
}

/**
 * A law in a few words.
 *
 * @param {any} law A law or a reference to one.
 * @returns {string} Such as `law 3, fitted`.
 */
export function lawName(law) {
  return `law ${law.version}, ${law.source === "fit" ? "fitted" : "published"}`;
}

/** @param {{level: number} | null | undefined} interval @returns {string} Such as `95 % interval`. */
export function levelName(interval) {
  return interval ? `${formatLevel(interval.level)} interval` : "no interval";
}

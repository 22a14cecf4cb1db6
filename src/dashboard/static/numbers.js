/**
 * Numbers as people write them: 70M, 1e21, 3 EFLOP, 200 MB, 52 %.
 *
 * @module numbers
 */

/** Powers of ten by prefix. Sizes of models use B and T; FLOPs and bytes use G and T. */
const PREFIXES = new Map([
  ["", 1], ["k", 1e3], ["m", 1e6], ["b", 1e9], ["g", 1e9], ["t", 1e12], ["p", 1e15], ["e", 1e18], ["z", 1e21], ["y", 1e24], ["r", 1e27], ["q", 1e30],
  ["thousand", 1e3], ["million", 1e6], ["billion", 1e9], ["trillion", 1e12],
  ["kilo", 1e3], ["mega", 1e6], ["giga", 1e9], ["tera", 1e12], ["peta", 1e15], ["exa", 1e18], ["zetta", 1e21], ["yotta", 1e24],
  ["ki", 2 ** 10], ["mi", 2 ** 20], ["gi", 2 ** 30], ["ti", 2 ** 40],
]);

/** Units that may follow a prefix and do not change the value. */
const UNIT = /(flops?|params?|parameters?|tokens?|bytes?|images?|examples?)$/;

/** FLOPs of one petaFLOP/s-day. */
const PF_DAY = 8.64e19;

/**
 * Parses a number.
 *
 * @param {string} text Such as `70M`, `1e21`, `3 EFLOP`, `84,934,656`, `12 PF-days`.
 * @returns {number} NaN if it is not a number.
 */
export function parseNumber(text) {
  const match = /^([+-]?(?:\d{1,3}(?:[,\s_]\d{3})+|\d+)?(?:\.\d*)?(?:e[+-]?\d+)?)\s*(.*)$/i.exec(text.trim());
  if (!match || !/\d/.test(match[1])) return NaN;
  const value = Number(match[1].replace(/[,\s_]/g, ""));
  // The user may be about to type 1e21; an upper-case 3E means exa.
  if (match[2] === "e") return NaN;
  let unit = match[2].trim().toLowerCase();
  if (/^p(eta)?f(lops?)?(\/s)?[- ]?days?$/.test(unit)) return value * PF_DAY;
  if (unit === "%") return value / 100;
  unit = unit.replace(UNIT, "").trim();
  // A bare "b" after another prefix is bytes: MB, GiB.
  if (unit.length > 1 && unit.endsWith("b")) unit = unit.slice(0, -1);
  const factor = PREFIXES.get(unit);
  return factor === undefined ? NaN : value * factor;
}

/**
 * Parses a fraction.
 *
 * @param {string} text `0.52`, `52 %` or `52`: a value of at least 1 is taken as percent.
 * @returns {number} NaN if it is not a number.
 */
export function parseFraction(text) {
  const value = parseNumber(text);
  return text.includes("%") || value < 1 ? value : value / 100;
}

/**
 * Formats a number with some significant digits, without an exponent up to a million.
 *
 * @param {number} value
 * @param {number} [digits]
 * @returns {string}
 */
export function formatNumber(value, digits = 4) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return shortExponent(value, digits);
  return trimZeros(value.toPrecision(digits));
}

/**
 * Formats a loss. Trailing zeros are kept, so that digits line up in tables.
 *
 * @param {number} value
 * @param {number} [digits]
 * @returns {string}
 */
export function formatLoss(value, digits = 4) {
  // No model has such a loss: it only means that the law gives no upper bound.
  if (value >= 1e6) return ">\u00a010⁶";
  return value >= 1e-3 && value < 1e5 ? value.toPrecision(digits) : formatNumber(value, digits);
}

/** @param {number} value @param {number} digits @returns {string} Such as 1.22e-5. */
function shortExponent(value, digits) {
  return value.toExponential(digits - 1).replace(/\.?0+e/, "e").replace("e+", "e");
}

/** @param {string} text @returns {string} */
function trimZeros(text) {
  if (text.includes("e")) return String(Number(text));
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** @param {number} value @param {[number, string][]} steps @returns {string | null} */
function prefixed(value, steps) {
  const step = steps.find(([size]) => Math.abs(value) >= size * 0.9995);
  return step ? trimZeros((value / step[0]).toPrecision(3)) + step[1] : null;
}

/**
 * A count of parameters or data: 84.9M, 1.2B, 32.8T.
 *
 * @param {number} value
 * @returns {string}
 */
export function formatCount(value) {
  if (Math.abs(value) >= 1e16) return shortExponent(value, 3);
  return prefixed(value, [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]]) ?? formatNumber(value, 3);
}

/**
 * FLOPs: 3 EFLOP, 2.5e27 FLOP.
 *
 * @param {number} value
 * @returns {string}
 */
export function formatFlops(value) {
  const steps = /** @type {[number, string][]} */ ([[1e24, "\u00a0YFLOP"], [1e21, "\u00a0ZFLOP"], [1e18, "\u00a0EFLOP"], [1e15, "\u00a0PFLOP"], [1e12, "\u00a0TFLOP"], [1e9, "\u00a0GFLOP"], [1e6, "\u00a0MFLOP"]]);
  if (value >= 1e27) return `${shortExponent(value, 3)}\u00a0FLOP`;
  return prefixed(value, steps) ?? `${formatNumber(value, 3)}\u00a0FLOP`;
}

/**
 * Bytes: 200 MB.
 *
 * @param {number} value
 * @returns {string}
 */
export function formatBytes(value) {
  return prefixed(value, [[1e15, "\u00a0PB"], [1e12, "\u00a0TB"], [1e9, "\u00a0GB"], [1e6, "\u00a0MB"], [1e3, "\u00a0kB"]]) ?? `${formatNumber(value, 3)}\u00a0B`;
}

/**
 * An estimate in percent. Close to 100 % it shows enough digits for what is missing: 99.95 %.
 *
 * @param {number} value
 * @param {number} [digits] Digits after the decimal point; by default as many as needed.
 * @returns {string}
 */
export function formatPercent(value, digits) {
  return `${percentDigits(value, digits)}\u00a0%`;
}

/**
 * A level in percent, without trailing zeros: 50 %, 87.5 %.
 *
 * @param {number} value
 * @returns {string}
 */
export function formatLevel(value) {
  return `${trimZeros(percentDigits(value))}\u00a0%`;
}

/** @param {number} value @param {number} [digits] @returns {string} */
function percentDigits(value, digits) {
  const left = 1 - Math.abs(value);
  const needed = digits ?? (left > 0 && left < 0.01 ? Math.min(4, Math.ceil(-Math.log10(left)) - 1) : 1);
  return (100 * value).toFixed(needed).replace(/^-(0(\.0+)?)$/, "$1");
}

/**
 * Both ends of an interval.
 *
 * @param {{low: number, high: number} | null | undefined} interval
 * @param {(value: number) => string} format
 * @returns {string} Empty if there is no interval.
 */
export function formatInterval(interval, format) {
  if (!interval) return "";
  const low = format(interval.low);
  const high = format(interval.high);
  if (low.endsWith("×")) return `${low.slice(0, -1)}–${high}`;
  // 45 % – 58 % is shortened to 45–58 %.
  const unit = /^(\S+)\u00a0(\D\S*)$/;
  const [a, b] = [unit.exec(low), unit.exec(high)];
  return a && b && a[2] === b[2] ? `${a[1]}–${b[1]}\u00a0${a[2]}` : `${low}–${high}`;
}

/**
 * An estimated factor: 1.80×.
 *
 * @param {number} value
 * @returns {string}
 */
export function formatTimes(value) {
  // A range of so many decades means that nothing is known, and its digits would suggest otherwise.
  if (value >= 1e6) return ">\u00a010⁶×";
  if (value < 1e-6) return "<\u00a010⁻⁶×";
  return value < 1000 ? `${value.toPrecision(3)}×` : `${formatWhole(Math.round(value))}×`;
}

/**
 * How long ago something was.
 *
 * @param {string} time RFC 3339.
 * @param {number} [now] Milliseconds.
 * @returns {string} Such as `3 days ago`.
 */
export function formatAge(time, now = Date.now()) {
  const seconds = Math.max(0, (now - Date.parse(time)) / 1000);
  /** @type {[number, string][]} */
  const steps = [[31_557_600, "year"], [2_629_800, "month"], [86_400, "day"], [3_600, "hour"], [60, "minute"]];
  for (const [size, name] of steps) {
    const count = Math.floor(seconds / size);
    if (count >= 1) return `${count} ${name}${count === 1 ? "" : "s"} ago`;
  }
  return "just now";
}

/**
 * A number in full, with commas between thousands. The browser's own formatter takes longer to start than a page takes to show.
 *
 * @param {number} value
 * @returns {string} Such as `84,934,656`.
 */
export function formatWhole(value) {
  const [whole, ...rest] = String(value).split(".");
  return [whole.replace(/\B(?=(\d{3})+$)/g, ","), ...rest].join(".");
}

/**
 * A count of things.
 *
 * @param {number} count
 * @param {string} noun In the singular.
 * @returns {string} Such as `1 run`, `1,000 runs`.
 */
export function plural(count, noun) {
  return `${formatWhole(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * Controls that several views share.
 *
 * @module inputs
 */

import { list } from "./api.js";
import { el, field } from "./dom.js";
import { parseFraction, parseNumber } from "./numbers.js";

/**
 * @typedef {object} NumberField
 * @property {HTMLElement} node
 * @property {HTMLInputElement} input
 * @property {() => number | null} read The number; null if the field is empty or its content is wrong.
 * @property {() => boolean} ok Whether the content can be used.
 */

/**
 * A field for a number as people write it; the text below shows how it was understood.
 *
 * @param {object} options
 * @param {string} options.label
 * @param {string} options.name
 * @param {string} [options.value]
 * @param {(value: number) => string} options.format
 * @param {number} options.min
 * @param {number} options.max
 * @param {boolean} [options.required]
 * @param {boolean} [options.fraction] Whether it is a fraction below 1, which may also be given in percent.
 * @param {string} [options.placeholder]
 * @param {string} [options.hint] Shown below while the field is empty.
 * @returns {NumberField}
 */
export function numberField({ label, name, value = "", format, min, max, required = false, fraction = false, placeholder, hint = "" }) {
  const input = el("input", { name, value, autocomplete: "off", spellcheck: "false", placeholder, "aria-required": required ? "true" : null });
  const node = field(label, input, hint || " ");
  const below = /** @type {HTMLElement} */ (node.querySelector(".hint"));
  const parse = () => (input.value.trim() === "" ? null : (fraction ? parseFraction : parseNumber)(input.value));
  const wrong = (/** @type {number | null} */ number) => {
    if (number === null) return required ? "is needed" : "";
    if (Number.isNaN(number)) return fraction ? "not a fraction: 0.75 or 75 %" : "not a number: 70M, 1e21, 3 EFLOP";
    if (number < min || (fraction ? number >= max : number > max)) return `between ${format(min)} and ${format(max)}`;
    return "";
  };
  const check = () => {
    const number = parse();
    const error = wrong(number);
    const started = input.value.trim() !== "";
    below.textContent = error && (started || error !== "is needed") ? error : number === null ? hint : `= ${format(number)}`;
    below.classList.toggle("bad", Boolean(error) && started);
    input.setAttribute("aria-invalid", String(Boolean(error) && started));
    return error;
  };
  input.addEventListener("input", check);
  check();
  return {
    node,
    input,
    read: () => (wrong(parse()) ? null : parse()),
    ok: () => check() === "",
  };
}

/**
 * A select for the names by which a law tells runs of the same sparsity apart.
 *
 * @param {any} law
 * @param {string} [value]
 * @returns {HTMLSelectElement | null} Null for a law without such names.
 */
export function levelSelect(law, value = "") {
  const names = new Set((law.own_coefficients ?? []).map((/** @type {any} */ each) => each.level).filter(Boolean));
  if (names.size === 0) return null;
  const options = [["", "without a name"], ...[...names].sort().map((each) => [each, each])];
  return el("select", { name: "level" }, options.map(([each, text]) => el("option", { value: each, selected: each === value }, text)));
}

/** @type {Promise<any[]> | null} */
let profiles = null;

/** Makes the next select of modes fetch the profiles again. */
export function forgetProfiles() {
  profiles = null;
}

/**
 * A select for FLOP modes: dense, sparse, and the hardware profiles, which are added once they are loaded.
 *
 * @param {string} value
 * @returns {HTMLSelectElement}
 */
export function modeSelect(value) {
  const select = el(
    "select",
    { name: "mode" },
    el("option", { value: "sparse", selected: value === "sparse" }, "sparse: zeros are free"),
    el("option", { value: "dense", selected: value === "dense" }, "dense: zeros cost as much"),
  );
  if (!["sparse", "dense"].includes(value)) select.append(el("option", { value, selected: true }, value));
  profiles ??= list("/v1/hardware-profiles", {}, { most: 1000 }).then(({ items }) => items);
  profiles.then(
    (items) => {
      const chosen = select.value;
      select.querySelectorAll("option:nth-child(n+3)").forEach((/** @type {Element} */ option) => option.remove());
      const names = items.map((profile) => profile.name).sort();
      if (names.length > 0) select.append(el("optgroup", { label: "hardware profiles" }, names.map((name) => el("option", { value: name, selected: name === chosen }, name))));
      if (select.value !== chosen) select.append(el("option", { value: chosen, selected: true }, chosen));
    },
    // The two built-in modes work without the profiles; the next view tries again.
    () => { profiles = null; },
  );
  return select;
}

/**
 * Limits how often a function is called: at most once per interval, and once more after the last call.
 *
 * @param {() => void} call
 * @param {number} wait_ms
 * @returns {() => void}
 */
export function settled(call, wait_ms) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(call, wait_ms);
  };
}

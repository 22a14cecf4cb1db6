/**
 * All families with their laws at a glance, and a form for a new one.
 *
 * @module views/families
 */

import { change, familyPath, get, list } from "../api.js";
import { dialog, dialogButtons, el, empty, failure, field, fill, table } from "../dom.js";
import { formatAge, formatNumber, parseNumber, plural } from "../numbers.js";
import { address, go } from "../url.js";
import { REASONS, trustInWords } from "../words.js";

/** More are found by name in the address. */
const MOST = 500;

/** @param {HTMLElement} main @param {AbortSignal} signal */
export async function showFamilies(main, signal) {
  const { items, more } = await list("/v1/families", {}, { most: MOST, signal });
  /** @type {Map<string, HTMLElement[]>} The cells of a family that its law fills. */
  const cells = new Map();
  const rows = items.map((/** @type {any} */ family) => {
    const law = family.active_law;
    const [runs, objective, warnings] = [el("span", {}, law ? "…" : ""), el("span", {}, law ? "…" : ""), el("span", {}, law ? "…" : "")];
    cells.set(family.name, [runs, objective, warnings]);
    return [
      [el("a", { href: address({ family: family.name }, new URLSearchParams()) }, family.name), family.description && el("div", { class: "about" }, family.description)],
      law ? [el("span", { class: "nowrap" }, `law ${law.version}`, " ", el("small", {}, law.source === "fit" ? "fitted" : "published")), family.pinned && [" ", el("span", { class: "badge" }, "pinned")]] : el("span", { class: "badge warn" }, "no law yet"),
      law ? el("time", { datetime: law.fitted_at, title: law.fitted_at }, formatAge(law.fitted_at)) : "",
      runs,
      objective,
      warnings,
      family.data_unit,
    ];
  });
  fill(
    main,
    el("div", { class: "head" }, el("h1", {}, "Families"), el("button", { type: "button", class: "primary", on: { click: newFamily } }, "New family")),
    el(
      "section",
      { class: "panel" },
      items.length === 0
        ? empty("There is no family yet. A family holds the runs that one law describes: make one, and upload its runs.")
        : table({
            caption: "Families and the laws that answer for them",
            columns: [{ text: "Family" }, { text: "Active law" }, { text: "Age" }, { text: "Runs", number: true }, { text: "Objective", number: true }, { text: "Warnings" }, { text: "Data in" }],
            rows,
          }),
      more && el("p", { class: "foot" }, `Only the newest ${MOST} are shown.`),
    ),
  );
  performance.mark("families");
  await Promise.all(
    items.filter((/** @type {any} */ family) => family.active_law).map(async (/** @type {any} */ family) => {
      const [runs, objective, warnings] = /** @type {HTMLElement[]} */ (cells.get(family.name));
      try {
        const law = await get(familyPath(family.name, `/laws/${family.active_law.version}`), {}, signal);
        fill(runs, law.runs?.toLocaleString("en") ?? "unknown");
        fill(objective, law.objective ? formatNumber(law.objective, 3) : "unknown");
        fill(warnings, trustOf(law.trust), " ", warningsOf(law.warnings));
      } catch {
        [runs, objective, warnings].forEach((cell) => fill(cell, "?"));
      }
    }),
  );
}

/**
 * How far a law or an answer can be trusted, in a word, with its reasons beside it.
 *
 * @param {{level: string, because: string[]}} trust
 * @returns {HTMLElement}
 */
export function trustOf(trust) {
  const shade = trust.level === "good" ? "good" : trust.level === "none" ? "bad" : "warn";
  return el("span", { class: `badge ${shade}`, title: trustInWords(trust) }, `trust: ${trust.level}`);
}

/**
 * How far an answer can be trusted, in a sentence.
 *
 * @param {{level: string, because: string[]}} trust
 * @returns {HTMLElement}
 */
export function trustLine(trust) {
  const reasons = trust.because.map((code, i) => [i > 0 && "; ", el("a", { href: `book/trust#${code}` }, REASONS[code] ?? code)]);
  return el("p", { class: "trust" }, trustOf(trust), reasons.length > 0 && " ", reasons.length > 0 && el("span", {}, reasons));
}

/**
 * Warnings that open on a click.
 *
 * @param {{code: string, detail: string}[]} warnings
 * @returns {HTMLElement}
 */
export function warningsOf(warnings) {
  if (warnings.length === 0) return el("span", { class: "badge good" }, "no warnings");
  return el("details", {}, el("summary", {}, el("span", { class: "badge warn" }, plural(warnings.length, "warning"))), el("ul", { class: "plain" }, warnings.map((w) => el("li", {}, w.detail))));
}

async function newFamily() {
  const status = el("div", {});
  let values = { name: "", description: "", data_unit: "tokens", tokens_per_data_unit: "" };
  for (;;) {
    const tokens = el("input", { name: "tokens_per_data_unit", inputmode: "decimal", value: values.tokens_per_data_unit });
    const { outcome, data } = await dialog(
      "New family",
      status,
      field("Name", el("input", { name: "name", required: true, pattern: "[a-z0-9](?:[a-z0-9\\-]*[a-z0-9])?", maxlength: 64, autocomplete: "off", value: values.name }), "Small letters, digits and hyphens: it is part of addresses."),
      field("What it is", el("input", { name: "description", maxlength: 2000, value: values.description })),
      field("Data is counted in", el("input", { name: "data_unit", required: true, value: values.data_unit }), "Such as tokens, images or steps; fixed once there are runs."),
      field("Tokens in one of these", tokens, "Where it means something; may stay empty."),
      dialogButtons("Create"),
    );
    if (outcome !== "yes") return;
    values = /** @type {any} */ (Object.fromEntries(data));
    try {
      await change("POST", "/v1/families", {
        name: values.name,
        description: values.description,
        data_unit: values.data_unit,
        tokens_per_data_unit: values.tokens_per_data_unit ? parseNumber(values.tokens_per_data_unit) : undefined,
      });
      go(address({ family: values.name, view: "upload" }, new URLSearchParams()));
      return;
    } catch (error) {
      fill(status, failure(error));
    }
  }
}

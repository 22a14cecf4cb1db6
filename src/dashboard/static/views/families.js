/**
 * The list of all families with a summary of their laws, and a form for a new family.
 *
 * @module views/families
 */

import { change, list } from "../api.js";
import { caller, reason, unless } from "../caller.js";
import { dialog, dialogButtons, el, empty, failure, field, fill } from "../dom.js";
import { settled } from "../inputs.js";
import { formatAge, formatNumber, formatWhole, parseNumber, plural } from "../numbers.js";
import { address, go, note, params } from "../url.js";
import { REASONS, trustInWords } from "../words.js";

/** Further families can be opened by their name in the address. */
const MOST = 2000;
/** Rows that are shown before the user asks for more. */
const PAGE = 100;

/** Rank of trust levels, worst last. @type {Record<string, number>} */
const LEVELS = { good: 0, weak: 1, none: 2 };

/** @type {{key: string, text: string, number?: boolean, minor?: boolean, of: (family: any) => any}[]} Undefined values are sorted last. */
const COLUMNS = [
  { key: "name", text: "Family", of: (family) => family.name },
  { key: "law", text: "Active law", of: (family) => family.active_law?.version },
  { key: "age", minor: true, text: "Fitted", of: (family) => family.active_law && -Date.parse(family.active_law.fitted_at) },
  { key: "runs", text: "Runs", number: true, minor: true, of: (family) => family.law?.runs ?? undefined },
  { key: "objective", minor: true, text: "Objective", number: true, of: (family) => family.law?.objective ?? undefined },
  { key: "trust", text: "Trust", of: (family) => family.law && LEVELS[family.law.trust.level] * 100 + family.law.warnings.length },
  { key: "unit", minor: true, text: "Data in", of: (family) => family.data_unit },
];

/** @type {[string, string, (family: any) => boolean][]} */
const FILTERS = [
  ["", "all families", () => true],
  ["law", "with a law", (family) => Boolean(family.active_law)],
  ["none", "without a law", (family) => !family.active_law],
  ["pinned", "pinned", (family) => family.pinned],
  ["doubtful", "weak or no trust", (family) => Boolean(family.law) && family.law.trust.level !== "good"],
];

/** @param {HTMLElement} main @param {AbortSignal} signal */
export async function showFamilies(main, signal) {
  const { items, more } = await list("/v1/families", {}, { most: MOST, signal });
  const asked = params();
  let sort = asked.get("sort") ?? "";
  let shown = PAGE;
  const search = el("input", { type: "search", value: asked.get("q") ?? "", placeholder: "name, description, unit", autocomplete: "off" });
  const filter = el("select", {}, FILTERS.map(([value, text]) => el("option", { value, selected: value === (asked.get("state") ?? "") }, text)));
  const count = el("p", { class: "foot", role: "status" });
  const body = el("div", {});

  /** @returns {any[]} */
  function found() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const holds = FILTERS.find(([value]) => value === filter.value)?.[2] ?? (() => true);
    const kept = items.filter((family) => holds(family) && words.every((/** @type {string} */ word) => `${family.name} ${family.description} ${family.data_unit}`.toLowerCase().includes(word)));
    const column = COLUMNS.find(({ key }) => key === sort.replace("-", ""));
    // The service lists the newest first.
    if (!column) return kept;
    const sign = sort.startsWith("-") ? -1 : 1;
    return kept.sort((a, b) => {
      const [x, y] = [column.of(a), column.of(b)];
      if (x === undefined || y === undefined || x === null || y === null) return Number(x === undefined || x === null) - Number(y === undefined || y === null);
      return sign * (typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true }));
    });
  }

  function show() {
    if (signal.aborted) return;
    const kept = found();
    note({ q: search.value, state: filter.value, sort });
    fill(count, kept.length === items.length ? `${formatWhole(items.length)} ${items.length === 1 ? "family" : "families"}` : `${formatWhole(kept.length)} of ${formatWhole(items.length)} families`, more && `; the newest ${formatWhole(MOST)} are looked at here`, ".");
    if (kept.length === 0) {
      fill(body, empty(items.length === 0 ? "There is no family yet. A family holds the runs that one law describes: make one, and upload its runs." : "No family is like that."));
      return;
    }
    const heads = COLUMNS.map((column) => {
      const direction = sort === column.key ? "ascending" : sort === `-${column.key}` ? "descending" : null;
      const turn = () => { sort = direction === "ascending" ? `-${column.key}` : column.key; show(); /** @type {HTMLElement | null} */ (body.querySelector(`[data-sort="${column.key}"]`))?.focus(); };
      return el("th", { scope: "col", class: [column.number && "number", column.minor && "minor"].filter(Boolean).join(" ") || null, "aria-sort": direction }, el("button", { type: "button", "data-sort": column.key, on: { click: turn } }, column.text));
    });
    fill(
      body,
      el(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Families" },
        el("table", { class: "full" }, el("caption", { class: "unseen" }, "Families and the laws that answer for them"), el("thead", {}, el("tr", {}, heads)), el("tbody", {}, kept.slice(0, shown).map(row))),
      ),
      kept.length > shown && el("p", { class: "buttons" }, el("button", { type: "button", on: { click: () => { shown += 10 * PAGE; show(); } } }, `Show ${formatWhole(kept.length - shown)} more`)),
    );
  }

  const who = await caller().catch(() => null);
  const readOnly = who ? reason(who, "write", {}) : "";
  fill(
    main,
    el("div", { class: "head" }, el("h1", {}, "Families"), unless(readOnly, el("button", { type: "button", class: "primary", on: { click: () => newFamily(who?.families ?? null) } }, "New family"))),
    el("section", { class: "panel" }, items.length > 0 && el("div", { class: "form filters" }, field("Search", search), field("Show", filter)), count, body),
  );
  const again = () => { shown = PAGE; show(); };
  search.addEventListener("input", settled(again, REST_MS));
  filter.addEventListener("change", again);
  show();
  performance.mark("families");
}

/** How long typing must pause before the search starts. */
const REST_MS = 120;

/** @param {any} family @returns {HTMLElement} */
function row(family) {
  const { active_law: active, law } = family;
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, el("a", { href: address({ family: family.name }, new URLSearchParams()) }, family.name), family.description && el("div", { class: "about" }, family.description)),
    el("td", {}, active ? [el("span", { class: "nowrap" }, `law ${active.version}`, " ", el("small", {}, active.source === "fit" ? "fitted" : "published")), family.pinned && [" ", el("span", { class: "badge" }, "pinned")]] : el("span", { class: "badge warn" }, "no law yet")),
    el("td", { class: "minor" }, active && el("time", { datetime: active.fitted_at, title: active.fitted_at }, formatAge(active.fitted_at))),
    el("td", { class: "number minor" }, law && ((typeof law.runs === "number" ? formatWhole(law.runs) : "unknown"))),
    el("td", { class: "number minor" }, law && (law.objective ? formatNumber(law.objective, 3) : "unknown")),
    el("td", {}, law && [trustOf(law.trust), " ", warningsOf(law.warnings)]),
    el("td", { class: "minor" }, family.data_unit),
  );
}

/**
 * A badge that shows how far a law or an answer can be trusted, with the reasons as its tooltip.
 *
 * @param {{level: string, because: string[]}} trust
 * @returns {HTMLElement}
 */
export function trustOf(trust) {
  const shade = trust.level === "good" ? "good" : trust.level === "none" ? "bad" : "warn";
  return el("span", { class: `badge ${shade}`, title: trustInWords(trust) }, `trust: ${trust.level}`);
}

/**
 * A sentence on how far an answer can be trusted.
 *
 * @param {{level: string, because: string[]}} trust
 * @returns {HTMLElement}
 */
export function trustLine(trust) {
  const reasons = trust.because.map((code, i) => [i > 0 && "; ", el("a", { href: `book/trust#${code}` }, REASONS[code] ?? code)]);
  return el("p", { class: "trust" }, trustOf(trust), reasons.length > 0 && " ", reasons.length > 0 && el("span", {}, reasons));
}

/**
 * Warnings that unfold on a click.
 *
 * @param {{code: string, detail: string}[]} warnings
 * @returns {HTMLElement}
 */
export function warningsOf(warnings) {
  if (warnings.length === 0) return el("span", { class: "badge good" }, "no warnings");
  return el("details", {}, el("summary", {}, el("span", { class: "badge warn" }, plural(warnings.length, "warning"))), el("ul", { class: "plain" }, warnings.map((w) => el("li", {}, w.detail))));
}

/** @param {string[] | null} only The only names allowed by the user's key. */
async function newFamily(only) {
  const status = el("div", {});
  let values = { name: "", description: "", data_unit: "tokens", tokens_per_data_unit: "" };
  for (;;) {
    const tokens = el("input", { name: "tokens_per_data_unit", inputmode: "decimal", value: values.tokens_per_data_unit });
    const { outcome, data } = await dialog(
      "New family",
      status,
      field("Name", el("input", { name: "name", required: true, pattern: "[a-z0-9](?:[a-z0-9\\-]*[a-z0-9])?", maxlength: 64, autocomplete: "off", value: values.name }), only ? `Your key is for ${only.join(", ")}.` : "Small letters, digits and hyphens: it is part of addresses."),
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

/**
 * The warnings of an answer: first those about the answer itself or behind its trust level, then remarks that
 * apply to the law in general.
 *
 * @param {{code: string, detail: string, of: string}[]} warnings
 * @param {{level: string, because: string[]}} trust
 * @returns {import("../dom.js").Child[]}
 */
export function warningNotes(warnings, trust) {
  const isAbout = (/** @type {{code: string, of: string}} */ { code, of }) => of === "answer" || trust.because.includes(code);
  const notes = (/** @type {string} */ what, /** @type {{detail: string}[]} */ some) => {
    const details = [...new Set(some.map((warning) => warning.detail))];
    return details.length > 0 && el("details", { class: "notes" }, el("summary", {}, `${what} (${details.length})`), el("ul", {}, details.map((text) => el("li", {}, text))));
  };
  return [notes("About this answer", warnings.filter(isAbout)), notes("Remarks on the law, whatever it is asked", warnings.filter((warning) => !isAbout(warning)))];
}

/**
 * A family: its law at a glance, and the views of it.
 *
 * @module views/family
 */

import { familyPath, get } from "../api.js";
import { el, fill, loading } from "../dom.js";
import { formatAge, formatNumber, plural } from "../numbers.js";
import { address, params } from "../url.js";
import { showAnswer } from "./answer.js";
import { trustOf, warningsOf } from "./families.js";
import { showForecasts } from "./forecasts.js";
import { showLaws } from "./laws.js";
import { showPlans } from "./plans.js";
import { showRuns } from "./runs.js";
import { showSuggestions } from "./suggestions.js";
import { showUpload } from "./upload.js";

/**
 * @typedef {object} Context What a view of a family works with.
 * @property {string} name
 * @property {any} family
 * @property {any | null} law The active law.
 * @property {AbortSignal} signal Aborted when the view ends.
 * @property {() => Promise<void>} refresh Reads the family and its law anew, and shows them.
 */

/** @type {[string, string, (main: HTMLElement, context: Context) => Promise<void> | void][]} */
const VIEWS = [
  ["answer", "Answer", showAnswer],
  ["runs", "Runs", showRuns],
  ["upload", "Upload", showUpload],
  ["laws", "Laws and refits", showLaws],
  ["forecasts", "Forecasts", showForecasts],
  ["plans", "Plans", showPlans],
  ["next", "Next runs", showSuggestions],
];

/** Parameters that mean something in one view alone. */
const OF_ONE_VIEW = { q: null, state: null, sort: null, page: null, refit: null, a: null, b: null, import: null };

/** @param {HTMLElement} main @param {string} name @param {AbortSignal} signal */
export async function showFamily(main, name, signal) {
  const lawLine = el("div", { class: "law-line" });
  const description = el("p", {});
  /** @type {Context} */
  const context = { name, family: null, law: null, signal, refresh };

  async function refresh() {
    context.family = await get(familyPath(name), {}, signal);
    const active = context.family.active_law;
    context.law = active ? await get(familyPath(name, `/laws/${active.version}`), {}, signal) : null;
    fill(description, context.family.description);
    fill(lawLine, lawAtAGlance(context));
  }
  await refresh();

  const asked = params().get("view");
  const [view, title, show] = VIEWS.find(([key]) => key === asked) ?? VIEWS[0];
  const tabs = VIEWS.map(([key, text]) =>
    el("a", { href: address({ ...OF_ONE_VIEW, view: key === "answer" ? null : key }), "aria-current": key === view ? "page" : null }, text),
  );
  // The parameters change while a view is open: the links go with them.
  const nav = el("nav", { class: "tabs", "aria-label": `Views of ${name}` }, tabs);
  nav.addEventListener("pointerdown", refreshLinks);
  nav.addEventListener("focusin", refreshLinks);
  function refreshLinks() {
    VIEWS.forEach(([key], i) => { tabs[i].href = address({ ...OF_ONE_VIEW, view: key === "answer" ? null : key }); });
  }

  const body = el("div", {}, loading());
  document.title = `${title} · ${name} · Sparsity planner`;
  fill(main, el("div", { class: "family-head" }, el("h1", {}, name), description), lawLine, nav, body);
  // On a narrow page the tabs scroll. To scroll to an element would have the Tab key go on from there.
  const current = tabs.find((tab) => tab.hasAttribute("aria-current"));
  if (current) nav.scrollLeft = current.getBoundingClientRect().right - nav.getBoundingClientRect().right;
  await show(body, context);
}

/** @param {Context} context @returns {import("../dom.js").Child[]} */
function lawAtAGlance({ family, law, name }) {
  if (!law) return [el("span", { class: "badge warn" }, "no law yet"), el("span", {}, `data in ${family.data_unit}`)];
  return [
    el("span", {}, el("a", { href: `./?family=${encodeURIComponent(name)}&view=laws` }, `law ${law.version}`), `, ${law.source === "fit" ? "fitted" : "published"} `, el("time", { datetime: law.fitted_at, title: law.fitted_at }, formatAge(law.fitted_at))),
    family.pinned && el("span", { class: "badge" }, "pinned"),
    law.runs !== null && el("span", {}, plural(law.runs, "run")),
    law.objective !== null && el("span", {}, `objective ${formatNumber(law.objective, 3)}`),
    el("span", {}, `data in ${family.data_unit}`),
    trustOf(law.trust),
    warningsOf(law.warnings),
  ];
}

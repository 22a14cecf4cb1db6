/**
 * A family: a summary of its law, and the family's views.
 *
 * @module views/family
 */

import { familyPath, get } from "../api.js";
import { whyNot } from "../caller.js";
import { el, fill, loading } from "../dom.js";
import { follow } from "../live.js";
import { newsOf } from "../news.js";
import { formatAge, formatNumber, plural } from "../numbers.js";
import { address, params } from "../url.js";
import { showAnswer } from "./answer.js";
import { trustOf, warningsOf } from "./families.js";

/**
 * @typedef {object} Context What a view of a family has to work with.
 * @property {string} name
 * @property {any} family
 * @property {any | null} law The active law.
 * @property {string} readOnly Why the user may change nothing of the family; empty if they may.
 * @property {AbortSignal} signal Aborted when the view ends.
 * @property {() => Promise<void>} refresh Reads the family and its law again, and shows them.
 * @property {(listener: Partial<import("../live.js").Listener>) => void} listen Registers a listener for what happens to
 *   the family, until the view ends.
 */

/** @typedef {(main: HTMLElement, context: Context) => Promise<void> | void} Show */

/** Views that are not shown at first are loaded on demand. @type {[string, string, () => Promise<Show> | Show][]} */
const VIEWS = [
  ["answer", "Answer", () => showAnswer],
  ["runs", "Runs", async () => (await import("./runs.js")).showRuns],
  ["upload", "Upload", async () => (await import("./upload.js")).showUpload],
  ["laws", "Laws and refits", async () => (await import("./laws.js")).showLaws],
  ["history", "History", async () => (await import("./history.js")).showHistory],
  ["forecasts", "Forecasts", async () => (await import("./forecasts.js")).showForecasts],
  ["plans", "Plans", async () => (await import("./plans.js")).showPlans],
  ["next", "Next runs", async () => (await import("./suggestions.js")).showSuggestions],
  ["settings", "Settings", async () => (await import("./settings.js")).showSettings],
];

/** Minimum time for which the first view has the page's thread to itself. */
const FIRST_MS = 3000;
/** Loads the other views in advance: by the time they are opened, the service may have another version. */
const loadOthers = once(function later() {
  setTimeout(() => {
    if (document.querySelector("[aria-busy='true']")) return later();
    // A view that cannot be loaded now is loaded again when it is opened.
    for (const [, , load] of VIEWS) Promise.resolve(load()).catch(() => {});
  }, FIRST_MS);
});

/** @param {() => void} act @returns {() => void} Calls the function the first time only. */
function once(act) {
  let done = false;
  return () => {
    if (!done) act();
    done = true;
  };
}

/** Parameters that have a meaning in one view only. */
const OF_ONE_VIEW = { q: null, state: null, sort: null, page: null, refit: null, law: null, a: null, b: null, import: null };

/** @param {HTMLElement} main @param {string} name @param {AbortSignal} signal */
export async function showFamily(main, name, signal) {
  const lawLine = el("div", { class: "law-line" });
  const description = el("p", {});
  /** @type {Context} */
  const context = { name, family: null, law: null, readOnly: "", signal, refresh, listen };
  /** @type {Partial<import("../live.js").Listener>[]} */
  const listeners = [];
  /** @type {import("../live.js").Standing | null} */
  let last = null;
  /** @param {Partial<import("../live.js").Listener>} listener */
  function listen(listener) {
    listeners.push(listener);
    // The state may have arrived while the view was being built.
    if (last) listener.standing?.(last);
  }
  const news = newsOf(context, { ofOneView: OF_ONE_VIEW, showsRefits: () => view === "laws", showsSettings: () => view === "settings", renew: () => dispatchEvent(new PopStateEvent("popstate")) });

  async function refresh() {
    context.family = await get(familyPath(name), {}, signal);
    const active = context.family.active_law;
    context.law = active ? await get(familyPath(name, `/laws/${active.version}`), {}, signal) : null;
    fill(description, context.family.description);
    fill(lawLine, lawAtAGlance(context));
    news.show();
  }
  const asked = params().get("view");
  const [view, title, load] = VIEWS.find(([key]) => key === asked) ?? VIEWS[0];
  const [show] = await Promise.all([load(), refresh()]);
  // Only now, because the user may be known only after a key was asked for.
  context.readOnly = await whyNot("write", { family: name });

  const tabs = VIEWS.map(([key, text]) =>
    el("a", { href: address({ ...OF_ONE_VIEW, view: key === "answer" ? null : key }), "aria-current": key === view ? "page" : null }, text),
  );
  // The parameters change while a view is open, so the links are updated when they are about to be used.
  const nav = el("nav", { class: "tabs", "aria-label": `Views of ${name}` }, tabs);
  nav.addEventListener("pointerdown", refreshLinks);
  nav.addEventListener("focusin", refreshLinks);
  function refreshLinks() {
    VIEWS.forEach(([key], i) => { tabs[i].href = address({ ...OF_ONE_VIEW, view: key === "answer" ? null : key }); });
  }

  const body = el("div", {}, loading());
  document.title = `${title} · ${name} · Sparsity planner`;
  fill(main, el("div", { class: "family-head" }, el("h1", {}, name), description), lawLine, news.node, nav, body);
  // On a narrow page the tabs scroll. scrollIntoView would move the starting point of the Tab key there.
  const current = tabs.find((tab) => tab.hasAttribute("aria-current"));
  if (current) nav.scrollLeft = current.getBoundingClientRect().right - nav.getBoundingClientRect().right;
  listen(news.listener);
  follow(name, signal, {
    standing: (standing) => {
      last = standing;
      listeners.forEach((listener) => listener.standing?.(standing));
    },
    refit: (refit) => listeners.forEach((listener) => listener.refit?.(refit)),
    deleted: () => listeners.forEach((listener) => listener.deleted?.()),
    away: (isAway) => listeners.forEach((listener) => listener.away?.(isAway)),
  });
  loadOthers();
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

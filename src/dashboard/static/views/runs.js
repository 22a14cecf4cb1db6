/**
 * Runs of a family: search, exclusion with a reason, deletion, and what-if refits without some of them.
 *
 * @module views/runs
 */

import { change, familyPath, get, list, Problem } from "../api.js";
import { announce, dialog, dialogButtons, el, empty, failure, field, fill, nameOf, typed } from "../dom.js";
import { settled } from "../inputs.js";
import { formatAge, formatCount, formatLevel, formatLoss, formatWhole, plural } from "../numbers.js";
import { showAtPoint, showComparison, watchRefit } from "../refit.js";
import { address, note, params } from "../url.js";
import { questionOf } from "./answer.js";

/** Most runs that are loaded and searched here; the API can filter any number. */
const MOST = 20_000;
const PAGE = 100;

/** Most runs that the API can leave out of a what-if. */
const MOST_WITHOUT = 1000;

/** To delete more runs than this, the user must type their number. */
const FEW = 10;

/** From this many runs on, progress is shown. */
const REPORTED = 10;

/** Delay after the last change before the page is compared with the family's runs. */
const COMPARE_MS = 1000;

/** @type {{key: string, text: string, number?: boolean, minor?: boolean, of: (run: any) => any}[]} */
const COLUMNS = [
  { key: "id", text: "Run", of: (run) => run.external_id },
  { key: "size", text: "Non-zero", number: true, of: (run) => run.nonzero_params },
  { key: "sparsity", text: "Sparsity", number: true, of: (run) => run.sparsity },
  { key: "data", text: "Data", number: true, of: (run) => run.data },
  { key: "loss", text: "Loss", number: true, of: (run) => run.loss },
  { key: "kind", minor: true, text: "Kind", of: (run) => run.pattern ?? run.start },
  { key: "tags", minor: true, text: "Tags", of: (run) => Object.entries(run.tags).map(([key, value]) => `${key}=${value}`).join(" ") },
  { key: "arrived", minor: true, text: "Arrived", of: (run) => run.created_at },
  { key: "excluded", text: "In fits", of: (run) => run.exclusion_reason ?? "" },
];

/** @param {HTMLElement} main @param {import("./family.js").Context} context */
export async function showRuns(main, context) {
  const { name, signal, readOnly } = context;
  /** @type {any[]} */
  let runs = [];
  let more = false;
  /** @type {Set<string>} Ids of the chosen runs. */
  const chosen = new Set();
  const asked = params();
  let page = Math.max(1, Number(asked.get("page")) || 1);
  let sort = asked.get("sort") ?? "-arrived";

  const search = el("input", { type: "search", value: asked.get("q") ?? "", placeholder: "name, tag, pattern, reason", autocomplete: "off" });
  const state = el("select", {}, [["", "all runs"], ["in", "in fits"], ["out", "excluded"]].map(([value, text]) => el("option", { value, selected: value === (asked.get("state") ?? "") }, text)));
  const count = el("p", { class: "foot", role: "status" });
  const actions = el("p", { class: "buttons" });
  const status = el("div", {});
  const experiment = el("section", { class: "panel", "aria-labelledby": "what-if", hidden: true });
  const fresh = el("p", { class: "buttons", hidden: true }, el("button", { type: "button", on: { click: reload } }, "Load the runs as they are now"), el("span", { class: "foot" }, "Others have changed them since."));
  const body = el("div", {});
  const pages = el("p", { class: "buttons" });
  fill(
    main,
    experiment,
    el(
      "div",
      { class: "panel" },
      el("div", { class: "form filters" }, field("Search", search), field("Show", state)),
      actions,
      status,
      fresh,
      count,
      body,
      pages,
    ),
  );

  async function load() {
    ({ items: runs, more } = await list(familyPath(name, "/runs"), {}, { most: MOST, signal }));
    show();
  }

  async function reload() {
    try {
      await load();
      fresh.hidden = true;
    } catch (error) {
      if (!signal.aborted) fill(status, failure(error));
    }
  }

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let comparing;
  signal.addEventListener("abort", () => clearTimeout(comparing));
  /** Shows a hint if the family's runs differ from those on the page. @param {import("../live.js").Standing} standing */
  function compareWith({ runs: now }) {
    clearTimeout(comparing);
    // Changes made by the page itself are reported as well, possibly before its own request is answered.
    comparing = setTimeout(() => {
      fresh.hidden = !now || more || (now.all === runs.length && now.used === runs.filter((run) => !run.excluded).length);
    }, COMPARE_MS);
  }

  /** @returns {any[]} */
  function found() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = (/** @type {any} */ run) => COLUMNS.filter((c) => !c.number && c.key !== "arrived").map((c) => c.of(run)).join(" ").toLowerCase();
    const kept = runs.filter((run) => (state.value === "" || run.excluded === (state.value === "out")) && words.every((/** @type {string} */ word) => text(run).includes(word)));
    const column = COLUMNS.find((c) => c.key === sort.replace("-", "")) ?? COLUMNS[0];
    const sign = sort.startsWith("-") ? -1 : 1;
    return kept.sort((a, b) => {
      const [x, y] = [column.of(a), column.of(b)];
      return sign * (typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true }));
    });
  }

  function show() {
    // The delayed call of a search may come after the view has ended.
    if (signal.aborted) return;
    const kept = found();
    const last = Math.max(1, Math.ceil(kept.length / PAGE));
    page = Math.min(page, last);
    note({ q: search.value, state: state.value, sort: sort === "-arrived" ? null : sort, page: page === 1 ? null : page });
    const out = runs.filter((run) => run.excluded).length;
    fill(count, `${plural(kept.length, "run")}${kept.length === runs.length ? "" : ` of ${formatWhole(runs.length)}`}, ${out} excluded from fits.${more ? ` The newest ${formatWhole(MOST)} are looked at here; the API lists all.` : ""}`);
    showActions();
    if (runs.length === 0) {
      fill(body, empty("There are no runs yet. ", el("a", { href: address({ view: "upload" }) }, "Upload some"), "."));
      fill(pages);
      return;
    }
    const shown = kept.slice((page - 1) * PAGE, page * PAGE);
    fill(body, kept.length === 0 ? empty("No run is like that.") : runTable(shown));
    const turn = (/** @type {number} */ to, /** @type {string} */ text) => el("button", { type: "button", disabled: to < 1 || to > last, on: { click: () => { page = to; show(); } } }, text);
    fill(pages, last > 1 && [turn(page - 1, "Before"), `page ${page} of ${last}`, turn(page + 1, "Next")]);
  }

  /** @param {any[]} shown @returns {HTMLElement} */
  function runTable(shown) {
    const all = el("input", { type: "checkbox", "aria-label": "Choose all of this page", checked: shown.every((run) => chosen.has(run.id)) });
    all.addEventListener("change", () => {
      shown.forEach((run) => (all.checked ? chosen.add(run.id) : chosen.delete(run.id)));
      show();
    });
    const header = COLUMNS.map((column) => {
      const direction = sort === column.key ? "ascending" : sort === `-${column.key}` ? "descending" : null;
      const turn = () => {
        sort = direction === "ascending" ? `-${column.key}` : column.key;
        show();
        /** @type {HTMLElement | null} */ (body.querySelector(`[data-sort="${column.key}"]`))?.focus();
      };
      return el("th", { scope: "col", class: [column.number && "number", column.minor && "minor"].filter(Boolean).join(" ") || null, "aria-sort": direction }, el("button", { type: "button", "data-sort": column.key, on: { click: turn } }, column.text));
    });
    const rows = shown.map((run) => {
      const box = el("input", { type: "checkbox", checked: chosen.has(run.id), "aria-label": `Choose ${run.external_id}` });
      box.addEventListener("change", () => {
        if (box.checked) chosen.add(run.id);
        else chosen.delete(run.id);
        all.checked = shown.every((other) => chosen.has(other.id));
        showActions();
      });
      const tags = COLUMNS[6].of(run);
      return el(
        "tr",
        { class: run.excluded ? "excluded" : null },
        !readOnly && el("td", {}, box),
        el("th", { scope: "row" }, el("div", { class: "clip" }, nameOf(run.external_id))),
        el("td", { class: "number" }, formatCount(run.nonzero_params)),
        el("td", { class: "number" }, formatLevel(run.sparsity)),
        el("td", { class: "number" }, formatCount(run.data)),
        el("td", { class: "number" }, formatLoss(run.loss, 5)),
        el("td", { class: "minor" }, run.pattern ?? "", run.start === "pretrained" ? " pretrained" : run.pattern ? "" : "unstructured"),
        el("td", { class: "minor" }, el("div", { class: "clip", title: tags }, tags)),
        el("td", { class: "minor" }, el("time", { datetime: run.created_at, title: run.created_at }, formatAge(run.created_at))),
        el("td", {}, run.excluded ? [el("span", { class: "badge warn" }, "excluded"), " ", el("small", {}, run.exclusion_reason)] : "yes"),
      );
    });
    return el(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs" },
      el("table", { class: "full" }, el("caption", { class: "unseen" }, "Runs of the family"), el("thead", {}, el("tr", {}, !readOnly && el("td", {}, all), header)), el("tbody", {}, rows)),
    );
  }

  function showActions() {
    if (readOnly) {
      fill(actions, el("span", { class: "denied" }, readOnly));
      return;
    }
    const some = runs.filter((run) => chosen.has(run.id));
    const inside = some.filter((run) => !run.excluded);
    const outside = some.filter((run) => run.excluded);
    const counted = (/** @type {any[]} */ of) => (of.length > 0 ? ` ${formatWhole(of.length)}` : "");
    // A used button stays in place and keeps the keyboard focus, as long as there is something to do.
    fill(
      actions,
      el("button", { type: "button", disabled: inside.length === 0, on: { click: () => askReason(inside) } }, `Exclude${counted(inside)}…`),
      el("button", { type: "button", disabled: outside.length === 0, on: { click: () => include(outside) } }, `Include again${counted(outside)}`),
      el("button", { type: "button", disabled: some.length === 0, on: { click: () => askDelete(some) } }, `Delete${counted(some)}…`),
      el("button", { type: "button", disabled: inside.length === 0 || inside.length > MOST_WITHOUT || !context.law, on: { click: () => askWhatIf(inside) } }, inside.length > 0 ? `What if these ${inside.length} were left out?` : "What if these were left out?"),
      inside.length > MOST_WITHOUT && el("span", { class: "foot" }, `A what-if leaves out at most ${formatWhole(MOST_WITHOUT)} runs.`),
      some.length === 0 && el("span", { class: "foot" }, "Choose runs by their boxes."),
    );
  }

  /**
   * Applies an action to some runs, one by one as the API requires. A run that somebody else has deleted meanwhile is
   * removed from the page, and the others go on.
   *
   * @param {any[]} some
   * @param {(run: any) => Promise<any>} act Returns the run's new state; null if it is gone.
   * @param {string} done What was done to them, such as `excluded`.
   * @param {string} [after] What that has as a consequence.
   */
  async function each(some, act, done, after = "") {
    let [count, gone] = [0, 0];
    const put = (/** @type {any} */ run, /** @type {any} */ now) => {
      runs = now ? runs.map((other) => (other.id === run.id ? now : other)) : runs.filter((other) => other.id !== run.id);
      chosen.delete(run.id);
    };
    try {
      for (const run of some) {
        if (signal.aborted) return;
        if (count % REPORTED === 0) fill(status, el("p", { class: "state" }, `${formatWhole(count)} of ${formatWhole(some.length)} done…`));
        try {
          put(run, await act(run));
          count += 1;
        } catch (error) {
          if (!(error instanceof Problem && error.status === 404) || !(await isThere())) throw error;
          put(run, null);
          gone += 1;
        }
      }
      const said = `${plural(count, "run")} ${done}.${gone > 0 ? ` ${plural(gone, "run")} had been deleted by somebody else.` : ""}${after && count > 0 ? ` ${after}` : ""}`;
      fill(status, el("p", { class: "success" }, said, " ", count > 0 && el("a", { href: address({ view: "laws", q: null, state: null, page: null, sort: null }) }, "Refit")));
      announce(said);
    } catch (error) {
      if (signal.aborted) return;
      fill(status, failure(error), el("p", {}, `${formatWhole(count)} of ${formatWhole(some.length)} were ${done} before that; the others are chosen still.`));
    }
    show();
  }

  /** @returns {Promise<boolean>} Whether the family exists. @throws {Error} If that cannot be found out. */
  async function isThere() {
    return get(familyPath(name), {}, signal).then(() => true, (error) => { if (error instanceof Problem && error.status === 404) return false; throw error; });
  }

  const AT_THE_NEXT = "This takes effect at the next refit.";

  /** @param {any[]} some */
  function include(some) {
    return each(some, (run) => change("PATCH", familyPath(name, `/runs/${run.id}`), { excluded: false }), "included again", AT_THE_NEXT);
  }

  /** @param {any[]} some */
  async function askReason(some) {
    const { outcome, data } = await dialog(
      `Exclude ${plural(some.length, "run")} from fits`,
      el("p", {}, "They stay where they are, and can be included again."),
      field("Reason", el("input", { name: "reason", required: true, maxlength: 2000, autofocus: true, autocomplete: "off" })),
      dialogButtons("Exclude"),
    );
    if (outcome !== "yes") return;
    const body = { excluded: true, exclusion_reason: String(data.get("reason")).trim() };
    await each(some, (run) => change("PATCH", familyPath(name, `/runs/${run.id}`), body), "excluded", AT_THE_NEXT);
  }

  /** @param {any[]} some */
  async function askDelete(some) {
    const names = some.map((run) => run.external_id);
    const count = String(some.length);
    const { outcome } = await dialog(
      some.length === 1 ? "Delete this run?" : `Delete ${plural(some.length, "run")}?`,
      some.length <= FEW ? el("ul", { class: "plain names" }, names.map((of) => el("li", {}, of))) : el("details", {}, el("summary", {}, "Which they are"), el("p", { class: "foot names" }, names.join(", "))),
      el("p", {}, "They are gone for good; laws that were fitted on them stay as they are. To leave them out of fits only, exclude them."),
      some.length > FEW && typed(count, `Type how many they are, ${count}, to confirm`),
      dialogButtons("Delete for good", true),
    );
    if (outcome !== "yes") return;
    await each(some, (run) => change("DELETE", familyPath(name, `/runs/${run.id}`)), "deleted", "Laws stay as they are until the next refit.");
  }

  /** @param {any[]} some */
  async function askWhatIf(some) {
    try {
      // With the options of the answering law, so that only the runs differ. Its delta is left out, as it was found by
      // the fit and is not an option.
      const { without: _, delta: __, ...options } = context.law.options ?? {};
      const refit = await change("POST", familyPath(name, "/refits"), { ...options, holdout: [], without: some.map((run) => run.external_id) });
      fill(status);
      note({ refit: refit.id });
      await follow(refit.id);
    } catch (error) {
      fill(status, failure(error));
    }
  }

  /** @param {string} id A refit that leaves out some runs. */
  async function follow(id) {
    const progress = el("div", {});
    const result = el("div", {});
    const end = () => {
      note({ refit: null });
      experiment.hidden = true;
      search.focus();
    };
    const close = el("button", { type: "button", on: { click: end } }, "Close");
    experiment.hidden = false;
    fill(experiment, el("div", { class: "head" }, el("h2", { id: "what-if", tabindex: "-1" }, "What if these runs were left out? ", el("span", { class: "badge warn" }, "what-if")), close), progress, result);
    /** @type {HTMLElement} */ (experiment.querySelector("h2")).focus();
    const ended = await watchRefit(progress, id, signal, !readOnly);
    if (signal.aborted || !ended) return;
    const { without } = ended.options;
    // The id from the address may be that of a refit of all runs.
    if (without.length === 0) return end();
    const left = plural(without.length, "run");
    if (ended.state !== "succeeded") {
      fill(result, el("p", {}, `No law came of it without ${left}. Nothing was changed.`));
      return;
    }
    const young = ended.law.version;
    const old = context.law.version;
    const rests = await get(familyPath(name, `/laws/${young}`), {}, signal);
    const inside = runs.filter((run) => !run.excluded && without.includes(run.external_id));
    const point = el("div", {});
    const compared = el("div", {});
    fill(
      result,
      el("p", {}, `Nothing was changed: the ${left} are in fits as before, and law ${old} answers. Law ${young} is the what-if; it answers only where it is asked for by its version.`),
      el("p", {}, `Law ${old} rests on ${context.law.runs === null ? "runs that are not known" : plural(context.law.runs, "run")}, the what-if on ${plural(rests.runs, "run")}.`),
      el("details", {}, el("summary", {}, `Left out: ${left}`), el("p", { class: "foot" }, without.join(", "))),
      el("h3", { class: "gap" }, "At the calculator's question"),
      point,
      el("h3", { class: "gap" }, "Law against law"),
      compared,
      inside.length > 0 && !readOnly && el("p", { class: "buttons" }, el("button", { type: "button", on: { click: () => askReason(inside) } }, `Exclude ${inside.length === 1 ? "it" : `these ${inside.length}`} from fits…`), el("span", { class: "foot" }, "For good, with a reason; then refit.")),
    );
    await Promise.all([
      showAtPoint(point, name, questionOf(context.law), { old, young, unit: context.family.data_unit }, signal),
      showComparison(compared, name, old, young, signal, `What-if (law ${young})`),
    ]);
  }

  const searched = settled(() => { page = 1; show(); }, 120);
  search.addEventListener("input", searched);
  state.addEventListener("change", () => { page = 1; show(); });
  await load();
  context.listen({ standing: compareWith });
  const refit = asked.get("refit");
  if (refit && context.law) follow(refit).catch((error) => fill(status, failure(error)));
}

/**
 * Laws of a family: refits with live progress, comparison of old and new, and which one answers.
 *
 * @module views/laws
 */

import { change, familyPath, get, list } from "../api.js";
import { announce, el, empty, failure, field, fill, table } from "../dom.js";
import { numberField } from "../inputs.js";
import { formatAge, formatLevel, formatNumber, formatWhole, plural } from "../numbers.js";
import { showComparison, STATES, watchRefit } from "../refit.js";
import { note, params } from "../url.js";
import { warningsOf } from "./families.js";
import { lawDetails } from "./law.js";

/** Older laws can be opened by their version in the address. */
const MOST = 100;

/** Number of refits that are listed. */
const MOST_REFITS = 8;

/** @param {HTMLElement} main @param {import("./family.js").Context} context */
export async function showLaws(main, context) {
  const { name, readOnly, signal } = context;
  const refits = el("section", { class: "panel", "aria-labelledby": "refit" });
  const laws = el("section", { class: "panel", "aria-labelledby": "laws" });
  const compared = el("section", { class: "panel", "aria-labelledby": "comparison", hidden: true });
  const details = el("section", { class: "panel", "aria-labelledby": "law", hidden: true });
  const imports = el("section", { class: "panel", "aria-labelledby": "import" });
  const asked = el("section", { class: "panel", "aria-labelledby": "asked", hidden: true });
  fill(main, el("div", { class: "columns" }, el("div", {}, refits, asked, imports), el("div", {}, laws, details, compared)));

  /** Newest law of the list. @type {number | null} */
  let shownNewest = null;
  /** @type {any[]} */
  let shownLaws = [];

  /** @param {number} version */
  async function open(version) {
    note({ law: version });
    await showDetails(shownLaws);
    /** @type {HTMLElement | null} */ (details.querySelector("h2"))?.focus();
    details.scrollIntoView({ block: "nearest" });
  }

  async function showList() {
    const { items } = await list(familyPath(name, "/laws"), {}, { most: MOST, signal });
    shownNewest = items.length > 0 ? Math.max(...items.map((law) => law.version)) : null;
    fill(laws, el("h2", { id: "laws" }, "Laws"), items.length === 0 ? empty("There is no law yet. Upload runs, and refit: the first law comes of it.") : lawTable(items));
    shownLaws = items;
    showCompared(items);
    await showDetails(items);
  }

  /** @param {any[]} items @returns {HTMLElement} */
  function lawTable(items) {
    const status = el("div", {});
    /** @param {number | null} version */
    const pin = async (version) => {
      try {
        await change("PUT", familyPath(name, "/active-law"), { version });
        await context.refresh();
        await showList();
      } catch (error) {
        fill(status, failure(error));
      }
    };
    const pinned = context.family.pinned;
    const rows = items.map((law) => [
      el("button", { type: "button", class: "quiet", title: `Show law ${law.version} below`, on: { click: () => open(law.version) } }, `law ${law.version}`),
      [law.what_if ? el("span", { class: "badge warn", title: `Left out: ${law.options.without.join(", ")}` }, `what-if, without ${plural(law.options.without.length, "run")}`) : law.source === "fit" ? "fitted" : "published", " ", el("small", {}, el("time", { datetime: law.fitted_at, title: law.fitted_at }, formatAge(law.fitted_at)))],
      (typeof law.runs === "number" ? formatWhole(law.runs) : "unknown"),
      law.objective ? formatNumber(law.objective, 4) : "unknown",
      warningsOf(law.warnings),
      law.active
        ? [el("span", { class: "badge good" }, "answers"), pinned && !readOnly && [" ", el("button", { type: "button", class: "quiet", on: { click: () => pin(null) } }, "Unpin")]]
        : law.what_if
          ? "only where asked for"
          : readOnly
          ? ""
          : el("button", { type: "button", class: "quiet", "aria-label": `Use this law: law ${law.version}`, on: { click: () => pin(law.version) } }, "Use this law"),
    ]);
    return el(
      "div",
      {},
      table({
        caption: "Laws, newest first",
        hideCaption: true,
        columns: [{ text: "Law" }, { text: "Made" }, { text: "Runs", number: true, minor: true }, { text: "Objective", number: true, minor: true }, { text: "Warnings" }, { text: "Active" }],
        rows,
      }),
      status,
      el("p", { class: "foot" }, pinned ? "The active law is pinned: refits do not replace it until it is unpinned." : "The newest fitted law answers. To use another pins it."),
    );
  }

  /** @param {any[]} items */
  function showCompared(items) {
    compared.hidden = items.length < 2;
    if (compared.hidden) return;
    const versions = items.map((law) => law.version);
    const asked = params();
    const active = items.find((law) => law.active)?.version;
    const young = Number(asked.get("b")) || active || versions[0];
    const old = Number(asked.get("a")) || items.find((law) => law.version < young && !law.what_if)?.version || versions.find((version) => version !== young);
    const choice = (/** @type {string} */ label, /** @type {number} */ value) =>
      el("select", { "aria-label": label }, [...new Set([value, ...versions])].sort((x, y) => y - x).map((version) => el("option", { value: version, selected: version === value }, items.find((law) => law.version === version)?.what_if ? `law ${version}, a what-if` : `law ${version}`)));
    const [first, second] = [choice("The one law", old), choice("The other law", young)];
    const result = el("div", {});
    const compare = () => showComparison(result, name, Number(first.value), Number(second.value), signal);
    [first, second].forEach((select) => select.addEventListener("change", () => {
      note({ a: first.value, b: second.value });
      compare();
    }));
    fill(compared, el("div", { class: "head" }, el("h2", { id: "comparison" }, "Old against new"), el("span", {}, first, " against ", second)), result);
    compare();
  }

  /** Shows the law named in the address, or else the one that answers. @param {any[]} items */
  async function showDetails(items) {
    const version = Number(params().get("law")) || items.find((law) => law.active)?.version;
    details.hidden = !version;
    if (!version) return;
    const title = el("h2", { id: "law", tabindex: "-1" }, `Law ${version}`);
    try {
      // A law older than those of the list can be shown too.
      const law = items.find((law) => law.version === version) ?? (await get(familyPath(name, `/laws/${version}`), {}, signal));
      title.append(law.active ? ", which answers" : law.what_if ? ", a what-if" : ", which does not answer");
      fill(details, title, lawDetails(name, law));
    } catch (error) {
      if (!signal.aborted) fill(details, title, failure(error));
    }
  }

  /** Refits by id; ids are in the order of requests. @type {Map<string, any>} */
  const known = new Map();

  function showRefits() {
    const newest = [...known.values()].sort((a, b) => (a.id < b.id ? 1 : -1)).slice(0, MOST_REFITS);
    asked.hidden = newest.length === 0;
    fill(asked, el("h2", { id: "asked" }, "Refits, newest first"), refitTable(newest));
  }

  /** Shows refits and laws as they arrive, including those of other users. */
  async function watchAll() {
    context.listen({
      refit: (refit) => {
        known.set(refit.id, refit);
        showRefits();
      },
      standing: ({ active_law: active, newest_law: newest }) => {
        if (newest === shownNewest && (active?.version ?? null) === (context.law?.version ?? null)) return;
        context.refresh().then(showList).catch((error) => !signal.aborted && fill(laws, failure(error)));
      },
    });
    const { items } = await get(familyPath(name, "/refits"), { limit: MOST_REFITS }, signal);
    for (const refit of items) if (!known.has(refit.id)) known.set(refit.id, refit);
    showRefits();
  }

  /** @param {any[]} items @returns {HTMLElement} */
  function refitTable(items) {
    const rows = items.map((refit) => [
      el("time", { datetime: refit.created_at, title: refit.created_at }, formatAge(refit.created_at)),
      refit.state === "running" ? `${STATES[refit.state]}: ${refit.phase}` : [STATES[refit.state], refit.error && [": ", refit.error.detail]],
      refit.law ? `law ${refit.law.version}` : "",
    ]);
    return table({ caption: "Refits of this family, newest first", hideCaption: true, columns: [{ text: "Asked for" }, { text: "State" }, { text: "Law" }], rows });
  }

  const progress = el("div", { "aria-live": "off" });
  const seed = numberField({ label: "Seed", name: "seed", value: "0", format: formatWhole, min: 0, max: Number.MAX_SAFE_INTEGER, required: true });
  const starts = numberField({ label: "Starts", name: "starts", value: "16", format: formatWhole, min: 1, max: 4096, required: true });
  const resamples = numberField({ label: "Resamples", name: "bootstrap", value: "1000", format: formatWhole, min: 0, max: 10_000, required: true });
  const level = numberField({ label: "Level of intervals", name: "confidence", value: "95 %", format: formatLevel, min: 0.5, max: 0.9991, required: true, fraction: true });
  const constraint = el("select", { name: "constraint" }, el("option", { value: "" }, "none"), el("option", { value: "physical" }, "physical: the gain's slope at 0 is at most 1"));
  const start = el("button", { type: "submit", class: "primary" }, "Refit");
  const form = el(
    "form",
    { on: { submit } },
    el("p", { class: "foot" }, "Fits a new law to the runs that are not excluded, in the background. The law that answers now goes on answering until then."),
    el("details", {}, el("summary", {}, "Options"), el("div", { class: "form" }, seed.node, starts.node, resamples.node, level.node, el("div", { class: "wide" }, field("Constraint", constraint)))),
    el("p", { class: "buttons" }, start),
  );
  fill(refits, el("h2", { id: "refit" }, "Refit"), readOnly ? el("p", { class: "denied" }, readOnly) : form, progress);

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    const fields = [seed, starts, resamples, level];
    const wrong = fields.find((f) => !f.ok());
    if (wrong) {
      wrong.input.focus();
      return;
    }
    start.disabled = true;
    try {
      const refit = await change("POST", familyPath(name, "/refits"), { seed: seed.read(), starts: starts.read(), bootstrap: resamples.read(), confidence: level.read(), constraint: constraint.value || undefined });
      note({ refit: refit.id, a: context.law?.version ?? null, b: null });
      await follow(refit.id);
    } catch (error) {
      fill(progress, failure(error));
    } finally {
      start.disabled = false;
    }
  }

  /** @param {string} id */
  async function follow(id) {
    const ended = await watchRefit(progress, id, signal, !readOnly);
    if (signal.aborted || ended?.state !== "succeeded") return;
    await context.refresh();
    if (params().get("refit") === id) note({ b: ended.law.version });
    progress.append(el("p", { class: "success" }, `Law ${ended.law.version} is there.`, ended.options.without.length > 0 ? " It is a what-if, and answers only where it is asked for." : context.law?.version === ended.law.version ? " It answers from now on." : " Another law is pinned and goes on answering."));
    await showList();
  }

  imports.hidden = Boolean(readOnly);
  if (!readOnly) {
    showImport(imports, context, async () => {
      await context.refresh();
      await showList();
    });
  }
  await showList();
  watchAll().catch((error) => !signal.aborted && fill(asked, failure(error)));
  const running = params().get("refit");
  if (running) follow(running).catch((error) => fill(progress, failure(error)));
}

/** In the order in which the law's formula has them. */
const COEFFICIENTS = ["a_s", "b_s", "c_s", "b_n", "a_d", "b_d", "c"];

/**
 * Imports published coefficients: those of another family, or typed ones.
 *
 * @param {HTMLElement} node
 * @param {import("./family.js").Context} context
 * @param {() => Promise<void>} changed Shows the laws again.
 */
function showImport(node, { name, family, signal }, changed) {
  const from = el("select", { name: "import", disabled: true }, el("option", { value: "" }, "typed below"));
  const fields = COEFFICIENTS.map((key) => numberField({ label: key, name: key, format: (v) => formatNumber(v, 6), min: 1e-300, max: 1e300, required: true }));
  const reference = el("input", { name: "reference", required: true, maxlength: 2000, autocomplete: "off", placeholder: "arXiv:2309.08520, table 3" });
  const pin = el("input", { type: "checkbox", name: "pin" });
  const button = el("button", { type: "submit" }, "Import");
  const status = el("div", {});
  const usual = `In raw units: sizes in parameters, data in ${family.data_unit}.`;
  const unit = el("p", { class: "foot" }, usual);
  /** What is known of the chosen law besides its coefficients. @type {any} */
  let known = {};
  const form = el(
    "form",
    { on: { submit } },
    field("Coefficients", from, "Of a published law of this service, or typed."),
    unit,
    el("div", { class: "form" }, fields.map((f) => f.node), el("div", { class: "wide" }, field("Where they stand", reference))),
    el("p", {}, el("label", { class: "check" }, pin, "Use this law, and pin it")),
    el("p", { class: "buttons" }, button),
    status,
  );
  fill(node, el("h2", { id: "import" }, "Import a published law"), el("details", { open: params().has("import") }, el("summary", {}, "Choose or type coefficients"), form));

  /** @type {any[]} */
  let families = [];
  async function choose() {
    note({ import: from.value });
    known = {};
    fill(status);
    fill(unit, usual);
    const source = families.find((other) => other.name === from.value);
    if (!source) return;
    try {
      const law = await get(familyPath(source.name, `/laws/${source.active_law.version}`), {}, signal);
      COEFFICIENTS.forEach((key, i) => {
        fields[i].input.value = String(law.coefficients[key]);
        fields[i].ok();
      });
      reference.value = law.reference ?? "";
      known = { objective: law.objective ?? undefined, runs: law.runs ?? undefined, fitted_at: law.fitted_at };
      if (law.data_unit !== family.data_unit) fill(unit, el("strong", {}, `That law counts data in ${law.data_unit}, this family in ${family.data_unit}: a_d must be converted.`));
    } catch (error) {
      fill(status, failure(error));
    }
  }
  from.addEventListener("change", choose);
  // The chosen law's objective does not apply to changed coefficients.
  fields.forEach(({ input }) => input.addEventListener("input", () => { known = {}; }));

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    const wrong = fields.find((f) => !f.ok());
    if (wrong) {
      wrong.input.focus();
      return;
    }
    button.disabled = true;
    try {
      const coefficients = Object.fromEntries(fields.map((f) => [f.input.name, f.read()]));
      const law = await change("POST", familyPath(name, "/laws"), { coefficients, reference: reference.value.trim(), ...known });
      if (pin.checked) await change("PUT", familyPath(name, "/active-law"), { version: law.version });
      await changed();
      const said = `Law ${law.version} is imported${pin.checked ? ", and answers" : law.active ? ", and answers, as there is no fit" : ""}.`;
      fill(status, el("p", { class: "success" }, said));
      announce(said);
    } catch (error) {
      fill(status, failure(error));
    } finally {
      button.disabled = false;
    }
  }

  const asked = params().get("import");
  list("/v1/families", {}, { most: 500, signal }).then(({ items }) => {
    families = items.filter((other) => other.active_law?.source === "published" && other.name !== name);
    from.append(...families.map((other) => el("option", { value: other.name }, `${other.name}, law ${other.active_law.version}`)));
    from.disabled = families.length === 0;
    if (asked && families.some((other) => other.name === asked)) {
      from.value = asked;
      choose();
    }
  }, () => {});
}

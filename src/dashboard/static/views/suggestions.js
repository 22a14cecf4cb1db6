/**
 * Suggestions of what to run next: the runs that narrow an answer most, within a budget.
 *
 * @module views/suggestions
 */

import { change, familyPath } from "../api.js";
import { asCsv, copyButton, copyButtons } from "../copy.js";
import { announce, el, empty, failure, field, fill, loading, table } from "../dom.js";
import { levelSelect, modeSelect, numberField } from "../inputs.js";
import { formatCount, formatFlops, formatInterval, formatLevel, formatLoss, formatNumber, formatPercent, formatWhole, parseFraction, parseNumber, plural } from "../numbers.js";
import { note, params } from "../url.js";
import { extrapolation, levelName } from "../words.js";
import { trustLine, warningNotes } from "./families.js";

/** @type {[string, string][]} */
const TARGETS = [["optimal_sparsity", "the best sparsity"], ["prediction", "a predicted loss"], ["coefficient", "a coefficient of the law"]];
const COEFFICIENTS = ["a_s", "b_s", "c_s", "b_n", "a_d", "b_d", "c"];

/**
 * The coefficients of a law, in the form in which suggestions take them as targets.
 *
 * @param {any} law
 * @returns {{text: string, target: any}[]}
 */
export function coefficientsOf(law) {
  if (!law.own_coefficients) return COEFFICIENTS.map((text) => ({ text, target: { coefficient: text } }));
  return law.own_coefficients.map((/** @type {any} */ { name, sparsity, level }) => ({
    text: typeof sparsity === "number" ? `${name} at ${formatLevel(sparsity)}${level ? ` (${level})` : ""}` : name,
    target: { own_coefficient: { name, ...(typeof sparsity === "number" ? { sparsity } : {}), ...(level ? { level } : {}) } },
  }));
}

/**
 * Parses the values that a quantity of a run may have.
 *
 * @param {string} text `1e6, 1e7`, or `1e6 to 1e9 in 7`.
 * @param {(text: string) => number} [parse]
 * @returns {number[] | {from: number, to: number, steps: number} | undefined} Undefined if nothing is given.
 * @throws {Error} Naming the part that is not a number.
 */
export function parseValues(text, parse = parseNumber) {
  if (text.trim() === "") return undefined;
  const number = (/** @type {string} */ part) => {
    const value = parse(part);
    if (Number.isNaN(value)) throw new Error(`“${part.trim()}” is no number.`);
    return value;
  };
  const range = /^(.+?)\s+to\s+(.+?)\s+in\s+(\d+)$/i.exec(text.trim());
  if (range) return { from: number(range[1]), to: number(range[2]), steps: Number(range[3]) };
  return text.split(/[,;]/).map((part) => part.trim()).filter(Boolean).map(number);
}

/** @param {HTMLElement} main @param {import("./family.js").Context} context */
export function showSuggestions(main, context) {
  const { name, law, family } = context;
  if (!law) {
    fill(main, el("section", { class: "panel" }, el("h2", {}, "Next runs"), empty("What to run next follows from a law: refit first.")));
    return;
  }
  const asked = params();
  /** @param {string} key @param {string} label @param {(v: number) => string} format @param {number} min @param {number} max @param {any} [more] */
  const number = (key, label, format, min, max, more = {}) => numberField({ label, name: key, value: asked.get(key) ?? more.start ?? "", format, min, max, required: true, ...more });
  const target = el("select", { name: "target" }, TARGETS.map(([value, text]) => el("option", { value, selected: value === asked.get("target") }, text)));
  const size = number("n", "Non-zero parameters", formatCount, 1, 1e18, { start: "100M" });
  const compute = number("c", "Training compute", formatFlops, 1, 1e40, { start: "1e20" });
  const sparsity = number("s", "Sparsity", formatLevel, 0, 1, { start: "75 %", fraction: true });
  const data = number("d", `Data in ${family.data_unit}`, formatCount, 1e-6, 1e30, { start: "100B" });
  const mode = modeSelect(asked.get("mode") ?? "sparse");
  const modeField = field("What a step costs", mode);
  const coefficients = coefficientsOf(law);
  const coefficient = el("select", { name: "coef" }, coefficients.map(({ text }) => el("option", { value: text, selected: text === (asked.get("coef") ?? "b_d") }, text)));
  const level = levelSelect(law, asked.get("level") ?? "");
  const levelField = level && field("Pattern or recipe", level);
  const coefficientField = field("Coefficient", coefficient);
  const budget = number("budget", "For all runs together", formatFlops, 1, 1e40, { start: "1e20" });
  const runs = number("count", "Runs at most", formatWhole, 1, 20, { start: "3" });
  const cost = modeSelect(asked.get("cost") ?? "dense");
  const grid = {
    nonzero_params: el("input", { name: "gn", value: asked.get("gn") ?? "", autocomplete: "off", spellcheck: "false", placeholder: "1M to 1B in 7" }),
    sparsity: el("input", { name: "gs", value: asked.get("gs") ?? "", autocomplete: "off", spellcheck: "false", placeholder: "0, 50%, 75%" }),
    data: el("input", { name: "gd", value: asked.get("gd") ?? "", autocomplete: "off", spellcheck: "false", placeholder: "1B, 10B, 100B" }),
  };
  const outcome = el("div", {}, el("section", { class: "panel" }, empty("Say which answer is to be narrowed, and what there is to spend.")));
  const button = el("button", { type: "submit", class: "primary" }, "Suggest runs");
  const form = el(
    "form",
    { on: { submit: (/** @type {Event} */ event) => { event.preventDefault(); ask(); } } },
    el("fieldset", {}, el("legend", {}, "The answer to narrow"), el("div", { class: "form" }, el("div", { class: "wide" }, field("Answer", target)), size.node, compute.node, sparsity.node, data.node, el("div", { class: "wide" }, levelField, modeField, coefficientField))),
    el("fieldset", {}, el("legend", {}, "What there is to spend"), el("div", { class: "form" }, budget.node, runs.node, el("div", { class: "wide" }, field("What a step of these runs costs", cost)))),
    el("details", { open: Object.values(grid).some((input) => input.value !== "") }, el("summary", {}, "What may be run"), el("p", { class: "foot" }, "Left empty, the levels of the law's runs and one step beyond."), el("div", { class: "form" }, el("div", { class: "wide" }, field("Sizes", grid.nonzero_params, "1M, 10M or 1M to 1B in 7")), el("div", { class: "wide" }, field("Sparsities", grid.sparsity, "0, 50%, 75%")), el("div", { class: "wide" }, field("Amounts of data", grid.data, "1B, 10B or 1B to 100B in 5")))),
    el("p", { class: "buttons" }, button),
  );
  fill(main, el("div", { class: "columns" }, el("section", { class: "panel aside", "aria-labelledby": "next" }, el("h2", { id: "next" }, "What to run next"), form), outcome));

  /** The fields that the target needs. */
  const needed = () => (target.value === "optimal_sparsity" ? [size, compute] : target.value === "prediction" ? [size, sparsity, data] : []);
  function showNeeded() {
    const now = needed();
    [size, compute, sparsity, data].forEach((f) => { f.node.hidden = !now.includes(f); });
    if (levelField) levelField.hidden = target.value !== "prediction";
    modeField.hidden = target.value !== "optimal_sparsity";
    coefficientField.hidden = target.value !== "coefficient";
  }
  target.addEventListener("change", showNeeded);
  showNeeded();

  /** @returns {any} */
  function targetBody() {
    if (target.value === "optimal_sparsity") return { optimal_sparsity: { nonzero_params: size.read(), compute: compute.read(), flop_mode: mode.value } };
    if (target.value === "prediction") return { prediction: { nonzero_params: size.read(), sparsity: sparsity.read(), data: data.read(), ...(level?.value ? { level: level.value } : {}) } };
    return coefficients.find(({ text }) => text === coefficient.value)?.target;
  }

  async function ask() {
    const wrong = [...needed(), budget, runs].find((f) => !f.ok());
    if (wrong) {
      wrong.input.focus();
      return;
    }
    note({
      ...Object.fromEntries([...needed(), budget, runs].map(({ input }) => [input.name, input.value.trim()])),
      target: target.value,
      mode: target.value === "optimal_sparsity" ? mode.value : asked.get("mode"),
      coef: target.value === "coefficient" ? coefficient.value : null,
      level: target.value === "prediction" ? level?.value || null : null,
      cost: cost.value === "dense" ? null : cost.value,
      ...Object.fromEntries(Object.values(grid).map((input) => [input.name, input.value.trim()])),
    });
    button.disabled = true;
    fill(outcome, el("section", { class: "panel" }, loading("Looking for runs…")));
    try {
      const body = {
        target: targetBody(),
        compute: budget.read(),
        runs: runs.read(),
        flop_mode: cost.value,
        grid: { nonzero_params: parseValues(grid.nonzero_params.value), sparsity: parseValues(grid.sparsity.value, parseFraction), data: parseValues(grid.data.value) },
      };
      show(await change("POST", familyPath(name, "/suggestions"), body, context.signal), body);
    } catch (error) {
      if (!context.signal.aborted) fill(outcome, el("section", { class: "panel" }, failure(error)));
    } finally {
      button.disabled = false;
    }
  }

  /** @param {any} answer @param {any} body The question. */
  function show(answer, body) {
    const format = target.value === "optimal_sparsity" ? (/** @type {number} */ v) => formatPercent(v) : target.value === "prediction" ? formatLoss : (/** @type {number} */ v) => formatNumber(v);
    const what = target.value === "coefficient" ? coefficient.value : target.value === "prediction" ? "predicted loss" : "best sparsity";
    const { value, interval } = answer.target;
    const count = answer.suggestions.length;
    const said = count === 0 ? "No run of the grid is within the budget." : `After ${count === 1 ? "this run" : `these ${plural(count, "run")}`} for ${formatFlops(answer.compute)} the interval is expected to be ${formatNumber(answer.expected_width_ratio, 2)} times as wide as now.`;
    fill(
      outcome,
      el(
        "section",
        { class: "panel", "aria-labelledby": "suggested" },
        el("h2", { id: "suggested" }, "Suggested runs"),
        trustLine(answer.trust),
        el("p", { class: "means" }, `The ${what} is ${format(value)}${interval ? `, ${formatInterval(interval, format)} (${levelName(interval)})` : ", without an interval"}. ${said}`),
        count > 0 && runTable("To be made together, the one that narrows most first", answer.suggestions, "Width after it"),
        answer.alternatives.length > 0 && el("details", {}, el("summary", {}, "Single runs, cheapest first"), runTable("Each alone; none of what may be run is both cheaper and better", answer.alternatives, "Width after it alone")),
        count > 0 && copies(answer, body),
        answer.extrapolation.length > 0 && el("div", { class: "notes" }, el("h3", {}, "The answer is beyond the data"), el("ul", {}, answer.extrapolation.map((/** @type {any} */ e) => el("li", {}, extrapolation(e))))),
        warningNotes(answer.warnings, answer.trust),
        el("p", { class: "foot" }, `By law ${answer.law.version}. A new run is taken to scatter as the ${plural(answer.information.runs, "run")} behind it do; a run named twice is run with another seed.`),
      ),
    );
    announce(said);
  }

  /** @param {any} answer @param {any} body @returns {HTMLElement} Buttons to copy the runs as a table, and the question. */
  function copies(answer, body) {
    const grids = Object.entries(body.grid).filter(([, values]) => values !== null && values !== undefined);
    const asked = { ...body, grid: grids.length > 0 ? Object.fromEntries(grids) : null };
    const buttons = copyButtons({ method: "POST", path: familyPath(name, "/suggestions"), body: asked, family: name, call: "suggest" });
    const columns = ["nonzero_params", "sparsity", "data", ...(answer.suggestions.some((/** @type {any} */ run) => run.level) ? ["level"] : [])];
    buttons.append(copyButton("CSV", () => asCsv(columns, answer.suggestions.map((/** @type {any} */ run) => columns.map((column) => run[column])))));
    return buttons;
  }

  /** @param {string} caption @param {any[]} items @param {string} width @returns {HTMLElement} */
  function runTable(caption, items, width) {
    return table({
      caption,
      columns: [{ text: "Run" }, { text: "Non-zero", number: true }, { text: "Sparsity", number: true }, { text: `Data, ${family.data_unit}`, number: true }, { text: "Compute", number: true }, { text: "Loss expected", number: true }, { text: width, number: true }, { text: "Beyond the runs" }],
      rows: items.map((run, i) => [String(i + 1), formatCount(run.nonzero_params), `${formatLevel(run.sparsity)}${run.level ? ` (${run.level})` : ""}`, formatCount(run.data), formatFlops(run.compute), formatLoss(run.predicted_loss), `${formatNumber(run.expected_width_ratio, 2)}×`, run.extrapolation.length === 0 ? "no" : el("ul", { class: "plain" }, run.extrapolation.map((/** @type {any} */ e) => el("li", {}, extrapolation(e))))]),
    });
  }

  if (asked.has("budget")) return ask();
}

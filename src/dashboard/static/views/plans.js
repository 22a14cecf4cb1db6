/**
 * Plans: the best size, sparsity and data for a budget or a loss, under bounds.
 *
 * @module views/plans
 */

import { change, familyPath } from "../api.js";
import { copyButtons } from "../copy.js";
import { announce, el, empty, failure, field, fill, loading, table } from "../dom.js";
import { frontierFigure } from "../figures.js";
import { modeSelect, numberField } from "../inputs.js";
import { formatBytes, formatCount, formatFlops, formatInterval, formatLevel, formatLoss, formatNumber, formatPercent } from "../numbers.js";
import { picture } from "../plots.js";
import { note, params } from "../url.js";
import { extrapolation } from "../words.js";
import { trustLine, warningNotes } from "./families.js";

const STORAGES = [["", "as the mode says"], ["dense", "dense"], ["bitmask", "bitmask"], ["csr", "csr"], ["2:4", "2:4"]];

/** @param {HTMLElement} main @param {import("./family.js").Context} context */
export function showPlans(main, context) {
  const { name, law, family } = context;
  if (!law) {
    fill(main, el("section", { class: "panel" }, el("h2", {}, "Plans"), empty("A plan needs a law: refit first.")));
    return;
  }
  const asked = params();
  /** @param {string} key @param {string} label @param {(v: number) => string} format @param {number} min @param {number} max @param {any} [more] */
  const number = (key, label, format, min, max, more = {}) => numberField({ label, name: key, value: asked.get(key) ?? more.start ?? "", format, min, max, ...more });
  const fields = {
    compute: number("c", "Compute at most", formatFlops, 1, 1e40, { start: asked.has("loss") ? "" : "1e21", hint: "Training, and inference where asked" }),
    target_loss: number("loss", "Loss at most", (v) => formatNumber(v), 1e-12, 1e12, { hint: "Then the cheapest model of it" }),
    inference_tokens: number("inference", "Tokens it will serve", formatCount, 0, 1e30, { hint: "None unless given" }),
    memory_bytes: number("memory", "Memory at most", formatBytes, 1, 1e30, { hint: "Of the weights: 200 MB" }),
  };
  const bounds = {
    nonzero_params: [number("minn", "Non-zero, at least", formatCount, 1, 1e18), number("maxn", "Non-zero, at most", formatCount, 1, 1e18)],
    total_params: [number("mint", "With zeros, at least", formatCount, 1, 1e22), number("maxt", "With zeros, at most", formatCount, 1, 1e22)],
    data: [number("mind", `Data, at least`, formatCount, 1e-6, 1e30), number("maxd", "Data, at most", formatCount, 1e-6, 1e30)],
    sparsity: [number("mins", "Sparsity, at least", formatLevel, 0, 0.99991, { fraction: true }), number("maxs", "Sparsity, at most", formatLevel, 0, 0.99991, { fraction: true })],
  };
  const mode = modeSelect(asked.get("mode") ?? "sparse");
  const storage = el("select", { name: "storage" }, STORAGES.map(([value, text]) => el("option", { value, selected: value === (asked.get("storage") ?? "") }, text)));
  const bits = el("select", { name: "bits" }, ["4", "8", "16", "32"].map((value) => el("option", { value, selected: value === (asked.get("bits") ?? "16") }, value)));
  const outcome = el("div", {}, empty("Say what there is to spend, or what loss is to be reached."));
  const button = el("button", { type: "submit", class: "primary" }, "Plan");
  const all = [...Object.values(fields), ...Object.values(bounds).flat()];
  const form = el(
    "form",
    { on: { submit: (/** @type {Event} */ event) => { event.preventDefault(); plan(); } } },
    el("div", { class: "form" }, fields.compute.node, fields.target_loss.node, el("div", { class: "wide" }, field("What a step costs", mode)), fields.inference_tokens.node, fields.memory_bytes.node, field("Stored as", storage), field("Bits of a value", bits)),
    el("details", { open: Object.values(bounds).flat().some(({ input }) => input.value !== "") }, el("summary", {}, "Bounds"), el("div", { class: "form" }, Object.values(bounds).flat().map((f) => f.node))),
    el("p", { class: "buttons" }, button),
  );
  fill(main, el("div", { class: "columns" }, el("section", { class: "panel aside", "aria-labelledby": "plan" }, el("h2", { id: "plan" }, "Plan a model"), form), outcome));

  let pictureEnd = new AbortController();
  context.signal.addEventListener("abort", () => pictureEnd.abort());

  async function plan() {
    const wrong = all.find((f) => !f.ok());
    if (wrong) {
      wrong.input.focus();
      return;
    }
    note({ ...Object.fromEntries(all.map(({ input }) => [input.name, input.value.trim()])), mode: mode.value, storage: storage.value, bits: bits.value === "16" ? null : bits.value });
    button.disabled = true;
    fill(outcome, loading("Planning…"));
    const bound = (/** @type {any[]} */ [low, high]) => (low.read() === null && high.read() === null ? undefined : { min: low.read() ?? undefined, max: high.read() ?? undefined });
    try {
      const body = {
        flop_mode: mode.value,
        ...Object.fromEntries(Object.entries(fields).map(([key, f]) => [key, f.read() ?? undefined])),
        ...Object.fromEntries(Object.entries(bounds).map(([key, pair]) => [key, bound(pair)])),
        storage: storage.value || undefined,
        bits_per_param: Number(bits.value),
      };
      show(await change("POST", familyPath(name, "/plans"), body), { method: "POST", path: familyPath(name, "/plans"), body, family: name, call: "plan" });
    } catch (error) {
      const problem = /** @type {any} */ (error);
      fill(outcome, el("section", { class: "panel" }, failure(problem), problem.kind === "infeasible" && el("p", { class: "foot" }, "Each bound named above could alone make way by as much as it says.")));
    } finally {
      button.disabled = false;
    }
  }

  /** @param {any} answer @param {import("../copy.js").Asked} asked */
  function show(answer, asked) {
    pictureEnd.abort();
    pictureEnd = new AbortController();
    if (context.signal.aborted) return;
    const { optimum, intervals } = answer;
    const frontier = picture({ title: "Loss against cost", name: "frontier", choices: [["", "log"], ["linear", "linear"]], signal: pictureEnd.signal });
    const alternatives = [
      ["This plan", optimum, intervals],
      ["Dense at the same cost", answer.dense, intervals && { loss: intervals.dense_loss }],
      ["Dense of the same loss", answer.dense_at_equal_loss, null],
      [answer.pattern?.pattern ? `By the pattern ${answer.pattern.pattern}` : "By a pattern: dense", answer.pattern, null],
    ].filter(([, model]) => model);
    const small = (/** @type {any} */ interval, /** @type {(v: number) => string} */ format) => interval && [el("br"), el("small", {}, formatInterval(interval, format))];
    const percent = (/** @type {number} */ v) => formatPercent(v);
    fill(
      outcome,
      el(
        "section",
        { class: "panel", "aria-labelledby": "planned" },
        el("h2", { id: "planned" }, answer.goal === "least_loss" ? "The least loss" : "The least cost"),
        el("p", { class: "headline" }, formatLoss(optimum.loss), " ", el("small", {}, `loss${intervals ? `, ${formatInterval(intervals.loss, formatLoss)}` : ", no interval"}`)),
        trustLine(answer.trust),
        el("p", { class: "means" }, sentence(optimum, intervals, family)),
        table({
          caption: "The plan and its alternatives; small numbers are intervals, where there are any",
          columns: [{ text: "Model" }, { text: "Non-zero", number: true }, { text: "Sparsity", number: true }, { text: "Data", number: true }, { text: "Loss", number: true }, { text: "Compute", number: true }, { text: "Memory", number: true }],
          rows: alternatives.map(([text, model, known]) => [text, [formatCount(model.nonzero_params), small(known?.nonzero_params, formatCount)], [model.sparsity === 0 ? formatLevel(0) : formatPercent(model.sparsity), small(known?.sparsity, percent)], [formatCount(model.data), small(known?.data, formatCount)], [formatLoss(model.loss), small(known?.loss, formatLoss)], formatFlops(model.compute), formatBytes(model.memory_bytes)]),
        }),
        answer.dense_reason && el("p", { class: "foot" }, `No dense model: ${answer.dense_reason}`),
        el("p", {}, answer.binding.length > 0 ? ["What binds: ", answer.binding.map((/** @type {string} */ b, /** @type {number} */ i) => [i > 0 && ", ", el("code", {}, b)]), ". To move it by 1 % makes a better plan."] : "No bound binds."),
        answer.extrapolation.length > 0 && el("div", { class: "notes" }, el("h3", {}, "Beyond the data"), el("ul", {}, answer.extrapolation.map((/** @type {any} */ e) => el("li", {}, extrapolation(e))))),
        warningNotes(answer.warnings, answer.trust),
        el("p", { class: "foot" }, `By law ${answer.law.version}; values of ${answer.assumed.bits_per_param} bits stored ${answer.assumed.storage}, at most ${formatLevel(answer.assumed.max_sparsity)} sparse.`),
        copyButtons(asked),
      ),
      answer.frontier.length > 1 && frontier.node,
    );
    if (answer.frontier.length > 1) frontier.show(frontierFigure(answer));
    announce(sentence(optimum, intervals, family));
  }

  if (asked.has("c") || asked.has("loss")) return plan();
}

/** @param {any} optimum @param {any} intervals @param {any} family @returns {string} */
function sentence(optimum, intervals, family) {
  const sparse = optimum.sparsity === 0 ? "dense" : `${formatPercent(optimum.sparsity)} sparse${intervals?.sparsity ? ` (${formatInterval(intervals.sparsity, (v) => formatPercent(v))})` : ""}`;
  return `${formatCount(optimum.nonzero_params)} non-zero parameters, ${sparse}${optimum.pattern ? ` by ${optimum.pattern}` : ""}, trained on ${formatCount(optimum.data)} ${family.data_unit}: ${formatFlops(optimum.compute)}.`;
}

/**
 * One question answered by each law that the family had: sparsity and loss by version, and what changed in between.
 *
 * @module views/history
 */

import { familyPath, get } from "../api.js";
import { copyButtons } from "../copy.js";
import { announce, el, empty, failure, field, fill, loading, table } from "../dom.js";
import { historyFigures } from "../figures.js";
import { modeSelect, numberField, settled } from "../inputs.js";
import { formatAge, formatCount, formatFlops, formatInterval, formatLevel, formatLoss, formatPercent, formatWhole, plural } from "../numbers.js";
import { picture } from "../plots.js";
import { address, go, note } from "../url.js";
import { changesInWords } from "../words.js";
import { questionOf } from "./answer.js";
import { trustOf } from "./families.js";

/** How long typing must pause before the question is asked. */
const REST_MS = 300;

/** @param {HTMLElement} main @param {import("./family.js").Context} context */
export function showHistory(main, context) {
  const { name, law, family, signal } = context;
  if (!law) {
    fill(main, el("section", { class: "panel" }, el("h2", {}, "No law answers yet"), empty("An answer has a history as soon as there is a law."), el("p", { class: "buttons" }, el("a", { class: "button primary", href: address({ view: "upload" }) }, "Upload runs"), el("a", { class: "button", href: address({ view: "laws" }) }, "Refit"))));
    return;
  }
  const asked = questionOf(law);
  const given = new URLSearchParams(location.search);
  const size = numberField({ label: "Non-zero parameters", name: "n", value: given.get("n") ?? formatCount(asked.nonzero_params), format: formatCount, min: 1, max: 1e18, required: true });
  const compute = numberField({ label: "Training compute", name: "c", value: given.get("c") ?? asked.compute.toExponential(0).replace("e+", "e"), format: formatFlops, min: 1, max: 1e40, required: true });
  const most = numberField({ label: "Sparsity at most", name: "most", value: given.get("most") ?? "", format: formatLevel, min: 0, max: 1, fraction: true, placeholder: "none" });
  const mode = modeSelect(asked.flop_mode);
  const output = el("div", {}, loading("Asking every law…"));
  fill(
    main,
    el(
      "section",
      { class: "panel", "aria-labelledby": "history" },
      el("h2", { id: "history" }, "What its laws answered"),
      el("p", { class: "foot" }, "The calculator's question, asked of each law that this family had. What-ifs, which never answered, are left out. A hardware profile counts as it is now."),
      el("form", { class: "form", on: { submit: (/** @type {Event} */ event) => { event.preventDefault(); ask(); } } }, size.node, compute.node, field("What a step costs", mode), most.node, el("button", { class: "unseen", type: "submit", tabindex: "-1" }, "Ask")),
    ),
    output,
  );

  /** Version of the law that answers. @type {number | null} */
  let answering = law.version;
  /** Aborts a question when another one replaces it. */
  let question = new AbortController();
  signal.addEventListener("abort", () => question.abort());

  async function ask() {
    if (signal.aborted) return;
    const [n, c, bound] = [size.read(), compute.read(), most.read()];
    if (!size.ok() || !compute.ok() || !most.ok() || n === null || c === null) {
      fill(output, el("p", { class: "state" }, "Give a size and a budget: 70M and 1e21, say."));
      return;
    }
    question.abort();
    question = new AbortController();
    const now = question.signal;
    note({ n: size.input.value.trim(), c: compute.input.value.trim(), mode: mode.value, most: most.input.value.trim() });
    const query = { nonzero_params: n, compute: c, flop_mode: mode.value, max_sparsity: bound };
    output.classList.add("findings", "old");
    try {
      const answer = await get(familyPath(name, "/optimal-sparsity/history"), query, now);
      output.classList.remove("old");
      show(answer.items, answer.next_cursor, query, now);
      announce(`${plural(answer.items.length, "law")} answered.`);
    } catch (error) {
      if (now.aborted) return;
      output.classList.remove("old");
      fill(output, el("div", { class: "panel" }, failure(error, ask)));
    }
  }

  /** Aborted when the pictures of a question are replaced. */
  let drawing = new AbortController();
  signal.addEventListener("abort", () => drawing.abort());

  /**
   * @param {any[]} items Newest first.
   * @param {string | null} next
   * @param {import("../api.js").Query} query
   * @param {AbortSignal} now
   */
  function show(items, next, query, now) {
    drawing.abort();
    drawing = new AbortController();
    const answered = items.filter((item) => item.answer);
    const trouble = el("div", {});
    const older = el("button", { type: "button" }, "Show older laws");
    older.addEventListener("click", async () => {
      older.disabled = true;
      try {
        const more = await get(familyPath(name, "/optimal-sparsity/history"), { ...query, cursor: next }, now);
        show([...items, ...more.items], more.next_cursor, query, now);
        announce(`${plural(more.items.length, "older law")} answered.`);
      } catch (error) {
        if (now.aborted) return;
        older.disabled = false;
        fill(trouble, failure(error));
      }
    });
    const pictures = answered.length === 0 ? null : historyFigures(answered, family.data_unit).map(({ title, key, draw }) => {
      const frame = picture({ title, name: key, signal: drawing.signal, onLink: go });
      // The picture must be part of the page before it is drawn.
      queueMicrotask(() => frame.show(draw));
      return frame.node;
    });
    fill(
      output,
      answered.length === 0 && el("div", { class: "panel" }, empty("None of these laws knows an answer to this question: each says why below.")),
      pictures && el("div", { class: "pictures two gap" }, pictures),
      el(
        "section",
        { class: "panel", "aria-labelledby": "versions" },
        el("h2", { id: "versions" }, "Law by law"),
        items.length > 1 && el("p", {}, movement(answered)),
        el("div", { class: "by-law" }, historyTable(items)),
        el("p", { class: "buttons" }, next !== null && older, el("span", { class: "foot" }, next === null ? `All ${plural(items.length, "law")}; small numbers are intervals.` : `The newest ${formatWhole(items.length)}; small numbers are intervals.`)),
        trouble,
        copyButtons({ method: "GET", path: familyPath(name, "/optimal-sparsity/history"), query, family: name, call: "history" }),
      ),
    );
  }

  /** @param {any[]} items @returns {HTMLElement} */
  function historyTable(items) {
    const percent = (/** @type {number} */ value) => formatPercent(value);
    const within = (/** @type {any} */ interval, /** @type {(v: number) => string} */ format) => interval && el("small", {}, ` ${formatInterval(interval, format)}`);
    return table({
      caption: "Answers by law, newest first",
      hideCaption: true,
      columns: [{ text: "Law" }, { text: "Best sparsity", number: true }, { text: "Loss", number: true }, { text: "Runs", number: true, minor: true }, { text: "Trust", minor: true }, { text: "What changed" }],
      rows: items.map(({ law: of, runs, answer, problem, changes }) => [
        [el("a", { href: address({ view: "laws", law: of.version }) }, `law ${of.version}`), " ", of.version === answering && el("span", { class: "badge good" }, "answers"), el("div", { class: "about" }, of.source === "fit" ? "" : "published, ", el("time", { datetime: of.fitted_at, title: of.fitted_at }, formatAge(of.fitted_at)))],
        answer ? [formatPercent(answer.sparsity), within(answer.interval, percent)] : el("span", { class: "badge warn", title: problem.detail }, "no answer"),
        answer ? [formatLoss(answer.loss), within(answer.intervals?.loss, formatLoss)] : "",
        runs === null ? "unknown" : formatWhole(runs),
        answer ? trustOf(answer.trust) : "",
        el("div", { class: "about" }, problem && el("div", {}, problem.detail), changesInWords(changes, of.source).map((text) => el("div", {}, text))),
      ]),
    });
  }

  const rested = settled(ask, REST_MS);
  [size, compute, most].forEach(({ input }) => input.addEventListener("input", rested));
  mode.addEventListener("change", ask);
  ask();
  // Asks again when another law answers, or a newer one exists, as the answer then has another row.
  let newest = -1;
  context.listen({
    standing: ({ newest_law: now, active_law: active }) => {
      const isOther = newest >= 0 && (now !== newest || (active?.version ?? null) !== answering);
      newest = now ?? 0;
      answering = active?.version ?? null;
      if (isOther) ask();
    },
  });
}

/** @param {any[]} answered Newest first. @returns {string} How far the answer moved. */
function movement(answered) {
  if (answered.length < 2) return "Only one of these laws knows an answer.";
  const [last, before] = answered;
  const moved = last.answer.sparsity - before.answer.sparsity;
  const apart = (/** @type {any} */ a, /** @type {any} */ b) => a && b && (a.high < b.low || b.high < a.low);
  const all = answered.map(({ answer }) => answer.sparsity);
  const range = `Over ${plural(answered.length, "law")} the best sparsity was between ${formatPercent(Math.min(...all))} and ${formatPercent(Math.max(...all))}.`;
  const step = Math.abs(moved) < 5e-4 ? `From law ${before.law.version} to law ${last.law.version} it stayed where it was.` : `From law ${before.law.version} to law ${last.law.version} it ${moved > 0 ? "rose" : "fell"} by ${(100 * Math.abs(moved)).toFixed(1)} points, ${apart(last.answer.interval, before.answer.interval) ? "beyond both intervals" : last.answer.interval && before.answer.interval ? "within their intervals" : "without an interval of both to compare"}.`;
  return `${range} ${step}`;
}

/**
 * Turns answers of the API into the details of their pictures: values under the pointer, a sentence, and a table; and
 * into the sketches that the service does not draw. Pure functions.
 *
 * @module figures
 */

import { formatCount, formatFlops, formatInterval, formatLevel, formatLoss, formatNumber, formatPercent, formatTimes, formatWhole, parseFraction, parseNumber, plural } from "./numbers.js";
import { address } from "./url.js";
import { levelName } from "./words.js";

/** @typedef {import("./plots.js").Details} Details */
/** @typedef {import("./plots.js").Draw} Draw */

const SIZES = { name: "non-zero parameters", format: formatCount, parse: parseNumber };
const BUDGETS = { name: "training compute", format: formatFlops, parse: parseNumber };
const SPARSITIES = { name: "sparsity", format: (/** @type {number} */ value) => formatPercent(Math.min(1, Math.max(0, value))), parse: parseFraction };
const LOSSES = { name: "loss", format: (/** @type {number} */ value) => formatLoss(value), parse: parseNumber };

/**
 * Predicted loss against measured loss.
 *
 * @param {{items: any[], noise?: number | null}} answer Answer of `fit-quality`.
 * @param {{unit: string, total: number | null, residuals: boolean}} family
 * @returns {Details | string}
 */
export function fitDetails(answer, { unit, total, residuals }) {
  const runs = answer.items;
  if (runs.length === 0) return "This law was published elsewhere: its runs are not here.";
  const outliers = runs.filter((run) => run.outlier).length;
  const most = [...runs].sort((a, b) => Math.abs(b.residual) - Math.abs(a.residual)).slice(0, 100);
  return {
    series: [{
      name: "runs",
      points: runs.map((run) => [run.loss, residuals ? run.residual : run.predicted]),
      say: (i) => {
        const run = runs[i];
        return [
          run.external_id ?? "deleted run",
          `${formatCount(run.nonzero_params)} non-zero, ${formatLevel(run.sparsity)} sparse`,
          `${formatCount(run.data)} ${unit}`,
          `measured ${formatLoss(run.loss)}, predicted ${formatLoss(run.predicted)}`,
          `residual ${formatNumber(run.residual, 2)}, leverage ${formatNumber(run.leverage, 2)}`,
          ...(run.outlier ? ["outlier"] : []),
        ];
      },
      link: (i) => runs[i].external_id && address({ view: "runs", q: runs[i].external_id }),
    }],
    x: { ...LOSSES, name: "measured loss" },
    y: residuals ? { name: "residual", format: (value) => formatNumber(value, 3), parse: parseNumber } : { ...LOSSES, name: "predicted loss" },
    summary: `${plural(runs.length, "run")}${total !== null && total > runs.length ? ` of ${formatWhole(total)}` : ""}, ${outliers === 0 ? "no outlier" : plural(outliers, "outlier")}${answer.noise ? `; a residual of ${formatNumber(answer.noise, 2)} is usual` : ""}.`,
    notes: ["Click a run to find it among the runs."],
    table: {
      columns: [{ text: "Run, farthest off first" }, { text: "Sparsity", number: true }, { text: "Measured", number: true }, { text: "Predicted", number: true }, { text: "Residual", number: true }],
      rows: most.map((run) => [run.external_id ?? "deleted", formatLevel(run.sparsity), formatLoss(run.loss), formatLoss(run.predicted), formatNumber(run.residual, 2)]),
    },
  };
}

/**
 * Budgets at which each sparsity is best, with the point that the user asks about.
 *
 * @param {any} answer Answer of `contours`.
 * @param {{nonzero_params: number, compute: number, sparsity: number, trusted: boolean}} point
 * @returns {Details}
 */
export function contoursDetails(answer, point) {
  const lines = answer.lines.filter((/** @type {any} */ line) => line.points.length > 0);
  const where = (/** @type {number} */ x, /** @type {number} */ y) => `${formatCount(x)} non-zero, ${formatFlops(y)}`;
  return {
    series: [
      ...lines.map((/** @type {any} */ line) => {
        const range = formatInterval(line.interval, formatTimes);
        return {
          name: formatLevel(line.sparsity), line: true, points: line.points,
          say: (/** @type {number} */ _, /** @type {number} */ x, /** @type {number} */ y) => [`${formatLevel(line.sparsity)} is best`, where(x, y), `${formatTimes(line.chinchilla_ratio)} Chinchilla${range ? ` (${range})` : ""}`],
        };
      }),
      { name: "Chinchilla", line: true, points: answer.chinchilla.points, say: (_, x, y) => ["Chinchilla", where(x, y)] },
      { name: "the question", points: [[point.nonzero_params, point.compute]], say: () => ["the question", where(point.nonzero_params, point.compute), `${formatPercent(point.sparsity)} is ${point.trusted ? "best" : "the law's guess"}`] },
    ],
    x: SIZES,
    y: BUDGETS,
    summary: `Budgets at which each sparsity is best in ${answer.flop_mode} mode, by size${lines[0]?.interval ? `, with ${levelName(lines[0].interval)}s` : ""}; at your point ${formatPercent(point.sparsity)} is${point.trusted ? "" : " the law's guess"}.`,
    notes: answer.lines.filter((/** @type {any} */ line) => line.points.length === 0).map((/** @type {any} */ line) => `No budget asks for ${formatLevel(line.sparsity)}: the best sparsity jumps over it.`),
    table: {
      columns: [{ text: "Best sparsity" }, { text: "Budget over Chinchilla's", number: true }, { text: "Interval", number: true }],
      rows: answer.lines.map((/** @type {any} */ line) => [formatLevel(line.sparsity), line.chinchilla_ratio ? formatTimes(line.chinchilla_ratio) : "never", formatInterval(line.interval, formatTimes) || "none"]),
    },
  };
}

/**
 * Loss against sparsity at the user's size and budget.
 *
 * @param {any} answer Answer of `loss-by-sparsity`.
 * @param {{pattern?: any, own?: any}} marks The best pattern, and a prediction at a sparsity chosen by the user.
 * @param {string} unit
 * @returns {Details}
 */
export function lossDetails(answer, { pattern, own }, unit) {
  const { optimum } = answer;
  const percent = (/** @type {number} */ value) => formatPercent(value);
  const mark = (/** @type {string} */ name, /** @type {any} */ p, /** @type {string[]} */ ...more) => ({
    name, points: /** @type {[number, number][]} */ ([[p.sparsity, p.loss]]),
    say: () => [name, `${formatPercent(p.sparsity)} sparse, loss ${formatLoss(p.loss)}`, `${formatCount(p.data)} ${unit}`, ...more],
  });
  const marks = [
    mark("best", optimum, ...(optimum.interval ? [`sparsity ${formatInterval(optimum.interval, percent)}`] : [])),
    ...(answer.dense ? [mark("dense", answer.dense)] : []),
  ];
  if (pattern && pattern.name !== "dense") marks.push(mark(`pattern ${pattern.name}`, pattern));
  if (own) marks.push(mark("your sparsity", own));
  return {
    series: [
      {
        name: "predicted loss", line: true, points: answer.points.map((/** @type {any} */ p) => [p.sparsity, p.loss]),
        say: (i, sparsity, loss) => {
          const { interval, data } = answer.points[i];
          return [`${formatPercent(sparsity)} sparse`, `loss ${formatLoss(loss)}${interval ? ` (${formatInterval(interval, formatLoss)})` : ""}`, `${formatCount(data)} ${unit}`];
        },
      },
      ...marks,
    ],
    x: SPARSITIES,
    y: LOSSES,
    summary: `At ${formatCount(answer.nonzero_params)} non-zero parameters and ${formatFlops(answer.compute)}: the least loss, ${formatLoss(optimum.loss)}, is at ${formatPercent(optimum.sparsity)}${optimum.interval ? ` (${formatInterval(optimum.interval, percent)})` : ""}.`,
    table: {
      columns: [{ text: "Sparsity" }, { text: "Loss", number: true }, { text: "Interval", number: true }, { text: "Data", number: true }],
      rows: answer.points.filter((/** @type {any} */ _, /** @type {number} */ i) => i % 4 === 0).map((/** @type {any} */ p) => [formatPercent(p.sparsity), formatLoss(p.loss), formatInterval(p.interval, formatLoss) || "none", formatCount(p.data)]),
    },
  };
}

/**
 * What zeros are worth.
 *
 * @param {any} answer Answer of `gain`.
 * @param {{sparsity: number, gain: number, intervals?: any}} optimum
 * @returns {Details}
 */
export function gainDetails(answer, optimum) {
  const interval = optimum.intervals?.gain;
  // Some laws have no limit.
  const limit = answer.limit === null ? null : `${formatTimes(answer.limit)}${answer.limit_interval ? ` (${formatInterval(answer.limit_interval, formatTimes)})` : ""}`;
  return {
    series: [
      {
        name: "gain", line: true, points: answer.points.map((/** @type {any} */ p) => [p.sparsity, p.gain]),
        say: (i, sparsity, gain) => {
          const near = answer.points[i].interval;
          return [`${formatPercent(sparsity)} sparse`, `as a dense model ${formatTimes(gain)} the non-zeros${near ? ` (${formatInterval(near, formatTimes)})` : ""}`];
        },
      },
      { name: "limit", points: limit === null ? [] : [[1, answer.limit]], say: () => ["limit", limit ?? "none"] },
      { name: "your best", points: [[optimum.sparsity, optimum.gain]], say: () => ["your best", `${formatPercent(optimum.sparsity)} sparse, worth ${formatTimes(optimum.gain)}${interval ? ` (${formatInterval(interval, formatTimes)})` : ""}`] },
    ],
    x: SPARSITIES,
    y: { name: "gain", format: formatTimes, parse: (text) => parseNumber(text.replace(/[×x]/, "")) },
    summary: `A sparse model is worth a dense one of ${limit === null ? "a multiple of" : `at most ${limit}`} its non-zero parameters, on the same data; ${formatTimes(optimum.gain)} at ${formatPercent(optimum.sparsity)}.`,
    table: {
      columns: [{ text: "Sparsity" }, { text: "Gain", number: true }, { text: "Interval", number: true }, { text: "Of total parameters", number: true }],
      rows: answer.points.filter((/** @type {any} */ _, /** @type {number} */ i) => i % 4 === 0).map((/** @type {any} */ p) => [formatPercent(p.sparsity), formatTimes(p.gain), formatInterval(p.interval, formatTimes) || "none", formatTimes(p.total_params_gain)]),
    },
  };
}

/** @param {string} axes @returns {"log" | "linear"} */
const lossScale = (axes) => (axes === "log" ? "log" : "linear");
/** @param {number} value @returns {string} Text of a tick. */
const short = (value) => formatNumber(value, 4);

/**
 * Predicted against measured loss of forecasts, with prediction intervals.
 *
 * @param {any[]} scored Forecasts that have a score.
 * @returns {Draw}
 */
export function forecastsFigure(scored) {
  return (axes) => {
    const all = scored.flatMap((f) => [f.score.measured, f.prediction_interval?.low ?? f.loss, f.prediction_interval?.high ?? f.loss]);
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const counted = (/** @type {any} */ f) => f.score.as_planned && !f.score.excluded;
    const inside = scored.filter((f) => counted(f) && f.score.inside_prediction_interval !== false);
    const outside = scored.filter((f) => counted(f) && f.score.inside_prediction_interval === false);
    const others = scored.filter((f) => !counted(f));
    const groups = /** @type {[string, any[], import("./sketch.js").Role, import("./sketch.js").Shape][]} */ ([["inside", inside, "accent", "circle"], ["outside", outside, "point", "diamond"], ["not counted", others, "muted", "ring"]]).filter(([, some]) => some.length > 0);
    const at = (/** @type {any[]} */ some) => some.map((f) => /** @type {[number, number]} */ ([f.score.measured, f.loss]));
    return {
      sketch: {
        x: { name: "measured loss", scale: lossScale(axes), format: short },
        y: { name: "forecast loss", scale: lossScale(axes), format: short },
        lines: [{ points: [[low, low], [high, high]], role: "muted", dashed: true, name: "as forecast" }],
        bars: groups.flatMap(([, some, role]) => some.filter((f) => f.prediction_interval).map((f) => ({ x: f.score.measured, low: f.prediction_interval.low, high: f.prediction_interval.high, role }))),
        marks: groups.map(([name, some, role, shape]) => ({ name, role, shape, points: at(some) })),
      },
      details: {
        series: groups.map(([name, some]) => ({
          name, points: at(some),
          say: (i) => [some[i].external_id, `forecast ${formatLoss(some[i].loss)}${some[i].prediction_interval ? ` (${formatInterval(some[i].prediction_interval, formatLoss)})` : ""}`, `measured ${formatLoss(some[i].score.measured)}`],
          link: (i) => address({ view: "runs", q: some[i].external_id }),
        })),
        x: { ...LOSSES, name: "measured loss" },
        y: { ...LOSSES, name: "forecast loss" },
        summary: `${plural(scored.length, "scored forecast")}: ${inside.length} inside their prediction interval, ${outside.length} outside, ${others.length} not counted.`,
        table: {
          columns: [{ text: "Run" }, { text: "Forecast", number: true }, { text: "Interval of a new run", number: true }, { text: "Measured", number: true }],
          rows: scored.map((f) => [f.external_id, formatLoss(f.loss), formatInterval(f.prediction_interval, formatLoss) || "none", formatLoss(f.score.measured)]),
        },
      },
    };
  };
}

/**
 * How an answer changed over the versions of the law: its sparsity, and the loss at it.
 *
 * @param {any[]} answered Laws of the history that have an answer, newest first.
 * @param {string} unit
 * @returns {{title: string, key: string, draw: Draw}[]}
 */
export function historyFigures(answered, unit) {
  const items = [...answered].reverse();
  const figure = (/** @type {string} */ title, /** @type {string} */ key, /** @type {(answer: any) => number} */ value, /** @type {(answer: any) => any} */ interval, /** @type {import("./plots.js").Axis} */ axis, /** @type {(value: number) => string} */ tick) => {
    const at = (/** @type {any[]} */ some) => some.map((item) => /** @type {[number, number]} */ ([item.law.version, value(item.answer)]));
    const groups = /** @type {[string, any[], import("./sketch.js").Role, import("./sketch.js").Shape][]} */ ([
      ["fitted", items.filter(({ law }) => law.source === "fit"), "accent", "circle"],
      ["published", items.filter(({ law }) => law.source !== "fit"), "muted", "square"],
    ]).filter(([, some]) => some.length > 0);
    const last = items[items.length - 1];
    const known = items.filter(({ answer }) => interval(answer));
    return {
      title,
      key,
      draw: /** @type {Draw} */ (() => ({
        sketch: {
          x: { name: "version of the law", scale: "linear", format: (value) => String(value), whole: true },
          y: { name: axis.name, scale: "linear", format: tick },
          lines: [{ points: at(items), role: "muted" }],
          bars: known.map(({ law, answer }) => ({ x: law.version, low: interval(answer).low, high: interval(answer).high, role: law.source === "fit" ? "accent" : "muted" })),
          marks: groups.map(([name, some, role, shape]) => ({ name, role, shape, points: at(some) })),
        },
        details: {
          series: groups.map(([name, some]) => ({
            name, points: at(some),
            say: (i, version, shown) => {
              const { answer, runs } = some[i];
              const range = interval(answer);
              return [`law ${version}, ${name}`, `${axis.name} ${axis.format(shown)}${range ? ` (${formatInterval(range, axis.format)})` : ""}`, `${formatCount(answer.data)} ${unit}`, ...(runs === null ? [] : [plural(runs, "run")])];
            },
            link: (i) => address({ view: "laws", law: some[i].law.version }),
          })),
          x: { name: "version", format: (value) => formatNumber(value, 4), parse: parseNumber },
          y: axis,
          summary: `${title}, by ${plural(items.length, "law")}: law ${last.law.version} says ${axis.format(value(last.answer))}${interval(last.answer) ? ` (${formatInterval(interval(last.answer), axis.format)})` : ""}.${known[0] ? ` Bars are ${levelName(interval(known[0].answer))}s.` : ""}`,
          notes: ["Click a law to read it."],
          table: {
            columns: [{ text: "Law" }, { text: axis.name, number: true }, { text: "Interval", number: true }],
            rows: items.map(({ law, answer }) => [`law ${law.version}`, axis.format(value(answer)), formatInterval(interval(answer), axis.format) || "none"]),
          },
        },
      })),
    };
  };
  return [
    figure("Best sparsity", "history-sparsity", ({ sparsity }) => sparsity, ({ interval }) => interval, SPARSITIES, (value) => formatLevel(Math.max(0, value)).replace("\u00a0", "")),
    figure("Loss at it", "history-loss", ({ loss }) => loss, ({ intervals }) => intervals?.loss, LOSSES, short),
  ];
}

/**
 * The trade-off between loss and cost.
 *
 * @param {any} plan
 * @returns {Draw}
 */
export function frontierFigure(plan) {
  const at = (/** @type {any} */ p) => /** @type {[number, number]} */ ([p.compute, p.loss]);
  const line = plan.frontier.map(at);
  const single = (/** @type {string} */ name, /** @type {any} */ p) => ({ name, points: [at(p)], say: () => [name, `${formatFlops(p.compute)}: loss ${formatLoss(p.loss)}`] });
  return (axes) => ({
    sketch: {
      x: { name: "compute, FLOP", scale: axes === "linear" ? "linear" : "log", format: (value) => (value === 0 ? "0" : value.toExponential(0).replace("e+", "e")) },
      y: { name: "predicted loss", scale: "linear", format: short },
      lines: [{ points: line, role: "accent", name: "least loss" }],
      marks: [
        { points: line, role: "accent", shape: "circle" },
        ...(plan.dense ? [{ points: [at(plan.dense)], role: /** @type {const} */ ("muted"), shape: /** @type {const} */ ("square"), name: "dense" }] : []),
        { points: [at(plan.optimum)], role: "point", shape: "diamond", name: "this plan" },
      ],
    },
    details: {
      series: [
        { name: "least loss", points: line, say: (i) => [`${formatFlops(plan.frontier[i].compute)}: loss ${formatLoss(plan.frontier[i].loss)}`, `${formatCount(plan.frontier[i].nonzero_params)} non-zero, ${formatPercent(plan.frontier[i].sparsity)} sparse`] },
        ...(plan.dense ? [single("dense", plan.dense)] : []),
        single("this plan", plan.optimum),
      ],
      x: BUDGETS,
      y: LOSSES,
      summary: "The least loss at other costs under the same bounds.",
      table: {
        columns: [{ text: "Compute" }, { text: "Loss", number: true }, { text: "Non-zero", number: true }, { text: "Sparsity", number: true }, { text: "Data", number: true }],
        rows: plan.frontier.map((/** @type {any} */ p) => [formatFlops(p.compute), formatLoss(p.loss), formatCount(p.nonzero_params), formatPercent(p.sparsity), formatCount(p.data)]),
      },
    },
  });
}

/**
 * What a training step costs at each sparsity.
 *
 * @param {any} profile With `cost`, `patterns` and `pattern_costs`.
 * @returns {Draw}
 */
export function stepCostFigure({ cost, patterns, pattern_costs }) {
  const at = stepCost(cost);
  return (axes) => {
    const density = axes === "density";
    const corners = cost.points ? cost.points.map((/** @type {number[]} */ p) => p[0]) : [1 - cost.efficiency];
    const even = Array.from({ length: 65 }, (_, i) => (density ? 1 - 2 ** (-i / 13) : i / 64));
    const most = density ? even[even.length - 1] : 1;
    const s = [...new Set([...even, ...corners])].filter((value) => value <= most).sort((a, b) => a - b);
    const marked = patterns.map((/** @type {string} */ name) => {
      const [kept, of] = name.split(":").map(Number);
      return { name, sparsity: 1 - kept / of, cost: pattern_costs[name] ?? at(1 - kept / of), measured: pattern_costs[name] !== undefined };
    }).filter((/** @type {any} */ p) => p.sparsity >= 0 && p.sparsity < 1);
    const curve = /** @type {[number, number][]} */ (s.map((value) => [value, at(value)]));
    const measured = /** @type {[number, number][]} */ ((cost.points ?? []).filter((/** @type {number[]} */ p) => p[0] <= most));
    const ofPatterns = /** @type {[number, number][]} */ (marked.map((/** @type {any} */ p) => [p.sparsity, p.cost]));
    const names = marked.map((/** @type {any} */ p) => p.name);
    return {
      sketch: {
        x: { name: density ? "sparsity, logarithmic in the density" : "sparsity", scale: density ? "density" : "linear", format: (value) => formatLevel(value).replace("\u00a0", ""), zero: true },
        y: { name: "cost of a step, dense is 1", scale: "linear", format: short, zero: true },
        lines: [{ points: curve, role: "accent", name: "this device" }, { points: s.map((value) => [value, 1 - value]), role: "muted", dashed: true, name: "zeros free" }],
        marks: [
          ...(measured.length > 0 ? [{ points: measured, role: /** @type {const} */ ("accent"), shape: /** @type {const} */ ("circle"), name: "measured" }] : []),
          ...(marked.length > 0 ? [{ points: ofPatterns, role: /** @type {const} */ ("point"), shape: /** @type {const} */ ("diamond"), name: "patterns", labels: names }] : []),
        ],
      },
      details: {
        series: [
          { name: "this device", line: true, points: curve, say: (_, sparsity, value) => [`${formatPercent(sparsity)} sparse`, `a step costs ${formatNumber(value, 3)} of a dense one`] },
          { name: "patterns", points: ofPatterns, say: (i) => [names[i], `${marked[i].measured ? "measured" : "as the curve"}: ${formatNumber(marked[i].cost, 3)}`] },
        ],
        x: SPARSITIES,
        y: { name: "cost of a step", format: (value) => formatNumber(value, 3), parse: parseNumber },
        summary: `At 50 % a step costs ${formatNumber(at(0.5), 3)} of a dense one, at 90 % ${formatNumber(at(0.9), 3)}${at(0.9) >= 1 ? "; zeros alone gain nothing" : at(0.05) >= 1 ? "; few zeros gain nothing" : ""}.`,
        table: {
          columns: [{ text: "Sparsity" }, { text: "Cost of a step", number: true }],
          rows: [...[0, 0.25, 0.5, 0.75, 0.875, 0.9375].map((value) => [formatLevel(value), formatNumber(at(value), 3)]), ...marked.map((/** @type {any} */ p) => [p.name, formatNumber(p.cost, 3)])],
        },
      },
    };
  };
}

/**
 * The cost of a training step, as the service computes it.
 *
 * @param {any} cost `{prunable_share, efficiency}` or `{points}`.
 * @returns {(sparsity: number) => number}
 */
export function stepCost(cost) {
  if (!cost.points) return (s) => 1 - cost.prunable_share + cost.prunable_share * Math.min(1, (1 - s) / cost.efficiency);
  const given = [...cost.points].sort((a, b) => a[0] - b[0]);
  const points = given.length > 0 && given[0][0] === 0 ? given : [[0, 1], ...given];
  return (s) => {
    const next = points.findIndex(([x]) => x >= s);
    if (next < 0) return points[points.length - 1][1];
    if (next === 0) return points[0][1];
    const [[x0, y0], [x1, y1]] = [points[next - 1], points[next]];
    return y0 + ((s - x0) / (x1 - x0)) * (y1 - y0);
  };
}

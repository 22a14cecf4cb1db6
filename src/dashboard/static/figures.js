/**
 * From answers of the API to what is drawn. Pure: an answer and colours in, a figure out.
 *
 * @module figures
 */

import { formatCount, formatFlops, formatInterval, formatLevel, formatLoss, formatNumber, formatPercent, formatTimes, plural } from "./numbers.js";
import { levelName } from "./words.js";

/** @typedef {import("./plots.js").Draw} Draw */
/** @typedef {import("./plots.js").Palette} Palette */

/** Viridis, from little to much sparsity. */
const VIRIDIS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star"];
/** More levels than this share one scale of colours. */
const MOST_LEVELS = 8;

/**
 * The colour of a sparsity: a level has the same in every picture.
 *
 * @param {number} sparsity
 * @param {Palette} palette
 * @param {number} [alpha]
 * @returns {string}
 */
export function sparsityColour(sparsity, palette, alpha = 1) {
  // Each halving of the weights is a fourth of the way; the ends that the background swallows are cut.
  const way = Math.min(1, -Math.log2(1 - Math.min(sparsity, 0.9999)) / 4);
  const place = (palette.dark ? 0.25 + 0.75 * way : 0.8 * way) * (VIRIDIS.length - 1);
  const index = Math.min(VIRIDIS.length - 2, Math.floor(place));
  const mixed = VIRIDIS[index].map((from, i) => Math.round(from + (VIRIDIS[index + 1][i] - from) * (place - index)));
  return `rgba(${mixed.join(",")},${alpha})`;
}

/** @param {number[]} values @returns {[number, number]} */
function extent(values) {
  return [Math.min(...values), Math.max(...values)];
}

/** @param {string} text @returns {string} Safe in the plotting library's markup, which knows a few tags. */
function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** @param {any} run @param {string} unit @returns {string} */
function runHover(run, unit) {
  return [
    `<b>${plain(run.external_id ?? "deleted run")}</b>`,
    `${formatCount(run.nonzero_params)} non-zero, ${formatLevel(run.sparsity)} sparse`,
    `${formatCount(run.data)} ${plain(unit)}`,
    `measured ${formatLoss(run.loss)}, predicted ${formatLoss(run.predicted)}`,
    `residual ${formatNumber(run.residual, 2)}, leverage ${formatNumber(run.leverage, 2)}${run.outlier ? "<br><b>outlier</b>" : ""}`,
  ].join("<br>");
}

/** @param {number} sparsity @returns {number} Levels that differ by less than this are one. */
const levelOf = (sparsity) => Math.round(sparsity * 1000) / 1000;

/**
 * Predicted against measured loss.
 *
 * @param {{items: any[], noise?: number | null}} answer
 * @param {{unit: string, total: number | null}} family
 * @returns {Draw}
 */
export function fitFigure(answer, { unit, total }) {
  return (palette, axes) => {
    const runs = answer.items;
    const groups = groupBy(runs, (run) => levelOf(run.sparsity));
    const levels = [...groups.keys()].sort((a, b) => a - b);
    const residuals = axes === "residuals";
    const height = (/** @type {any} */ run) => (residuals ? run.residual : run.predicted);
    const trace = (/** @type {any[]} */ some, /** @type {any} */ marker, /** @type {string} */ name) => ({
      type: "scatter", mode: "markers", name, x: some.map((run) => run.loss), y: some.map(height), text: some.map((run) => runHover(run, unit)),
      customdata: some.map((run) => run.external_id), hovertemplate: "%{text}<extra></extra>", marker,
    });
    const size = runs.length > 400 ? 5 : 8;
    /** @type {any[]} */
    const traces = levels.length <= MOST_LEVELS
      ? levels.map((level, i) => trace(groups.get(level) ?? [], { size, symbol: SYMBOLS[i % SYMBOLS.length], color: sparsityColour(level, palette), opacity: 0.85 }, formatLevel(level)))
      : [trace(runs, { size, color: runs.map((run) => sparsityColour(run.sparsity, palette)), opacity: 0.85 }, "runs")];
    const outliers = runs.filter((run) => run.outlier);
    if (outliers.length > 0) {
      traces.push({ ...trace(outliers, { size: size + 7, symbol: "circle-open", color: palette.point, line: { width: 2 } }, "outliers"), hoverinfo: "skip", hovertemplate: undefined });
    }
    const [low, high] = extent(runs.flatMap((run) => (residuals ? [run.loss] : [run.loss, run.predicted])));
    traces.unshift({ type: "scatter", mode: "lines", name: "as predicted", x: [low, high], y: residuals ? [0, 0] : [low, high], line: { color: palette.muted, width: 1, dash: "dot" }, hoverinfo: "skip", showlegend: false });
    const type = residuals ? "linear" : axes;
    const most = [...runs].sort((a, b) => Math.abs(b.residual) - Math.abs(a.residual)).slice(0, 100);
    return {
      traces,
      layout: { xaxis: { title: { text: "measured loss" }, type }, yaxis: { title: { text: residuals ? "residual, above 0 where predicted too high" : "predicted loss" }, type } },
      summary: `${plural(runs.length, "run")}${total !== null && total > runs.length ? ` of ${total.toLocaleString("en")}` : ""}, ${outliers.length === 0 ? "no outlier" : plural(outliers.length, "outlier")}${answer.noise ? `; a residual of ${formatNumber(answer.noise, 2)} is usual` : ""}.`,
      notes: ["Click a run to find it among the runs."],
      table: {
        columns: [{ text: "Run, farthest off first" }, { text: "Sparsity", number: true }, { text: "Measured", number: true }, { text: "Predicted", number: true }, { text: "Residual", number: true }],
        rows: most.map((run) => [run.external_id ?? "deleted", formatLevel(run.sparsity), formatLoss(run.loss), formatLoss(run.predicted), formatNumber(run.residual, 2)]),
      },
    };
  };
}

/** @param {any[]} items @param {(item: any) => number} key @returns {Map<number, any[]>} */
function groupBy(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    if (groups.has(name)) groups.get(name).push(item);
    else groups.set(name, [item]);
  }
  return groups;
}

/**
 * Budgets at which each sparsity is best, with the user's point.
 *
 * @param {any} answer Of `contours`.
 * @param {{nonzero_params: number, compute: number, sparsity: number}} point
 * @returns {Draw}
 */
export function contoursFigure(answer, point) {
  return (palette, axes) => {
    const log = axes === "log";
    const lines = answer.lines.filter((/** @type {any} */ line) => line.points.length > 0);
    const traces = [];
    for (const line of lines) {
      const colour = sparsityColour(line.sparsity, palette);
      if (line.band) {
        traces.push(
          { type: "scatter", mode: "lines", x: line.band.map((/** @type {any} */ p) => p[0]), y: line.band.map((/** @type {any} */ p) => p[1]), line: { width: 0 }, hoverinfo: "skip", showlegend: false },
          { type: "scatter", mode: "lines", x: line.band.map((/** @type {any} */ p) => p[0]), y: line.band.map((/** @type {any} */ p) => p[2]), line: { width: 0 }, fill: "tonexty", fillcolor: sparsityColour(line.sparsity, palette, 0.14), hoverinfo: "skip", showlegend: false },
        );
      }
      const range = formatInterval(line.interval, formatTimes);
      traces.push({
        type: "scatter", mode: "lines", name: formatLevel(line.sparsity), x: line.points.map((/** @type {any} */ p) => p[0]), y: line.points.map((/** @type {any} */ p) => p[1]), line: { color: colour, width: 2 },
        text: line.points.map((/** @type {any} */ p) => `<b>${formatLevel(line.sparsity)} is best</b><br>${formatCount(p[0])} non-zero, ${formatFlops(p[1])}<br>${formatTimes(line.chinchilla_ratio)} Chinchilla${range ? ` (${range})` : ""}`),
        hovertemplate: "%{text}<extra></extra>",
      });
    }
    traces.push({
      type: "scatter", mode: "lines", name: "Chinchilla", x: answer.chinchilla.points.map((/** @type {any} */ p) => p[0]), y: answer.chinchilla.points.map((/** @type {any} */ p) => p[1]), line: { color: palette.text, width: 1.5, dash: "dash" },
      text: answer.chinchilla.points.map((/** @type {any} */ p) => `<b>Chinchilla</b><br>${formatCount(p[0])} non-zero, ${formatFlops(p[1])}`), hovertemplate: "%{text}<extra></extra>",
    });
    traces.push({
      type: "scatter", mode: "markers", name: "your point", x: [point.nonzero_params], y: [point.compute], marker: { size: 13, symbol: "star", color: palette.point, line: { color: palette.surface, width: 1 } },
      text: [`<b>your point</b><br>${formatCount(point.nonzero_params)} non-zero, ${formatFlops(point.compute)}<br>${formatPercent(point.sparsity)} is best`], hovertemplate: "%{text}<extra></extra>",
    });
    // Bands may span orders of magnitude: the axes come from the lines and the point.
    const all = [...lines.flatMap((/** @type {any} */ line) => line.points), ...answer.chinchilla.points, [point.nonzero_params, point.compute]];
    const axis = (/** @type {number[]} */ values) => {
      const [low, high] = extent(values);
      return log ? [Math.log10(low) - 0.15, Math.log10(high) + 0.15] : [0, high * 1.05];
    };
    const type = log ? "log" : "linear";
    const budgets = axis(all.map((p) => p[1]));
    return {
      traces,
      layout: {
        xaxis: { title: { text: "non-zero parameters" }, type, exponentformat: "B", range: axis(all.map((p) => p[0])), dtick: log ? 1 : undefined },
        yaxis: { title: { text: "training compute, FLOP" }, type, exponentformat: "power", range: budgets, dtick: log ? (budgets[1] - budgets[0] > 6 ? 2 : 1) : undefined },
      },
      summary: `Budgets at which each sparsity is best in ${answer.flop_mode} mode, by size${lines[0]?.interval ? `, with ${levelName(lines[0].interval)}s` : ""}; at your point ${formatPercent(point.sparsity)} is.`,
      notes: answer.lines.filter((/** @type {any} */ line) => line.points.length === 0).map((/** @type {any} */ line) => `No budget asks for ${formatLevel(line.sparsity)}: the best sparsity jumps over it.`),
      table: {
        columns: [{ text: "Best sparsity" }, { text: "Budget over Chinchilla's", number: true }, { text: "Interval", number: true }],
        rows: answer.lines.map((/** @type {any} */ line) => [formatLevel(line.sparsity), line.chinchilla_ratio ? formatTimes(line.chinchilla_ratio) : "never", formatInterval(line.interval, formatTimes) || "none"]),
      },
    };
  };
}

/** Sparsities that an axis by density names. */
const TICKS = [0, 0.5, 0.75, 0.875, 0.94, 0.97, 0.985, 0.99, 0.995, 0.999];

/** @param {boolean} log @returns {{axis: any, place: (sparsity: number) => number}} An axis of sparsities. */
function sparsityAxis(log) {
  return log
    ? {
        axis: { title: { text: "sparsity" }, type: "log", autorange: "reversed", tickvals: TICKS.map((s) => 1 - s), ticktext: TICKS.map((s) => formatLevel(s).replace("\u00a0", "")), tickangle: 0 },
        place: (sparsity) => 1 - sparsity,
      }
    : { axis: { title: { text: "sparsity" }, type: "linear", tickformat: ".0%" }, place: (sparsity) => sparsity };
}

/** @param {number[]} x @param {any[]} intervals @param {string} colour @returns {any[]} A band of intervals. */
function band(x, intervals, colour) {
  if (!intervals[0]) return [];
  const common = { type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false };
  return [
    { ...common, x, y: intervals.map((i) => i.low) },
    { ...common, x, y: intervals.map((i) => i.high), fill: "tonexty", fillcolor: colour },
  ];
}

/**
 * Loss against sparsity at the user's size and budget.
 *
 * @param {any} answer Of `loss-by-sparsity`.
 * @param {{pattern?: any, own?: any}} marks The best pattern, and a prediction at a sparsity of the user's own.
 * @param {string} unit
 * @returns {Draw}
 */
export function lossFigure(answer, { pattern, own }, unit) {
  return (palette, axes) => {
    const log = axes === "log";
    const { axis, place } = sparsityAxis(log);
    const x = answer.points.map((/** @type {any} */ p) => place(p.sparsity));
    const { optimum } = answer;
    const mark = (/** @type {string} */ name, /** @type {any} */ p, /** @type {any} */ marker, /** @type {string} */ more = "") => ({
      type: "scatter", mode: "markers", name, x: [place(p.sparsity)], y: [p.loss], marker: { size: 11, line: { color: palette.surface, width: 1 }, ...marker },
      text: [`<b>${plain(name)}</b><br>${formatPercent(p.sparsity)} sparse, loss ${formatLoss(p.loss)}<br>${formatCount(p.data)} ${plain(unit)}${more}`], hovertemplate: "%{text}<extra></extra>",
    });
    const traces = [
      ...band(x, answer.points.map((/** @type {any} */ p) => p.interval), palette.dark ? "rgba(143,184,240,0.18)" : "rgba(31,95,168,0.13)"),
      {
        type: "scatter", mode: "lines", name: "predicted loss", x, y: answer.points.map((/** @type {any} */ p) => p.loss), line: { color: palette.accent, width: 2 },
        text: answer.points.map((/** @type {any} */ p) => `${formatPercent(p.sparsity)} sparse<br>loss ${formatLoss(p.loss)}${p.interval ? ` (${formatInterval(p.interval, formatLoss)})` : ""}<br>${formatCount(p.data)} ${plain(unit)}`), hovertemplate: "%{text}<extra></extra>",
      },
      mark("dense", answer.dense, { symbol: "square", color: palette.muted }),
    ];
    const best = mark("best", optimum, { symbol: "star", size: 13, color: palette.point }, optimum.interval ? `<br>sparsity ${formatInterval(optimum.interval, (v) => formatPercent(v))}` : "");
    if (optimum.interval) {
      traces.push({ type: "scatter", mode: "lines", name: levelName(optimum.interval), x: [place(optimum.interval.low), place(optimum.interval.high)], y: [optimum.loss, optimum.loss], line: { color: palette.point, width: 5 }, opacity: 0.55, hoverinfo: "skip" });
    }
    traces.push(best);
    if (pattern && pattern.name !== "dense") traces.push(mark(`pattern ${pattern.name}`, pattern, { symbol: "diamond", color: palette.text }));
    if (own) traces.push(mark("your sparsity", own, { symbol: "x", color: palette.text }));
    return {
      traces,
      layout: { xaxis: axis, yaxis: { title: { text: "predicted loss" } } },
      summary: `At ${formatCount(answer.nonzero_params)} non-zero parameters and ${formatFlops(answer.compute)}: the least loss, ${formatLoss(optimum.loss)}, is at ${formatPercent(optimum.sparsity)}${optimum.interval ? ` (${formatInterval(optimum.interval, (v) => formatPercent(v))})` : ""}.`,
      table: {
        columns: [{ text: "Sparsity" }, { text: "Loss", number: true }, { text: "Interval", number: true }, { text: "Data", number: true }],
        rows: answer.points.filter((/** @type {any} */ _, /** @type {number} */ i) => i % 4 === 0).map((/** @type {any} */ p) => [formatPercent(p.sparsity), formatLoss(p.loss), formatInterval(p.interval, formatLoss) || "none", formatCount(p.data)]),
      },
    };
  };
}

/**
 * What zeros are worth.
 *
 * @param {any} answer Of `gain`.
 * @param {{sparsity: number, gain: number, intervals?: any}} optimum
 * @returns {Draw}
 */
export function gainFigure(answer, optimum) {
  return (palette, axes) => {
    const log = axes === "log";
    const { axis, place } = sparsityAxis(log);
    const x = answer.points.map((/** @type {any} */ p) => place(p.sparsity));
    const interval = optimum.intervals?.gain;
    const traces = [
      ...band(x, answer.points.map((/** @type {any} */ p) => p.interval), palette.dark ? "rgba(143,184,240,0.18)" : "rgba(31,95,168,0.13)"),
      {
        type: "scatter", mode: "lines", name: "gain", x, y: answer.points.map((/** @type {any} */ p) => p.gain), line: { color: palette.accent, width: 2 },
        text: answer.points.map((/** @type {any} */ p) => `${formatPercent(p.sparsity)} sparse<br>as a dense model ${formatTimes(p.gain)} the non-zeros${p.interval ? ` (${formatInterval(p.interval, formatTimes)})` : ""}`), hovertemplate: "%{text}<extra></extra>",
      },
      {
        type: "scatter", mode: "lines", name: "limit", x: [x[0], x[x.length - 1]], y: [answer.limit, answer.limit], line: { color: palette.muted, width: 1, dash: "dash" },
        text: Array(2).fill(`limit ${formatTimes(answer.limit)}${answer.limit_interval ? ` (${formatInterval(answer.limit_interval, formatTimes)})` : ""}`), hovertemplate: "%{text}<extra></extra>",
      },
      {
        type: "scatter", mode: "markers", name: "your best", x: [place(optimum.sparsity)], y: [optimum.gain], marker: { size: 13, symbol: "star", color: palette.point, line: { color: palette.surface, width: 1 } },
        error_y: interval ? { type: "data", symmetric: false, array: [interval.high - optimum.gain], arrayminus: [optimum.gain - interval.low], color: palette.point, thickness: 2 } : undefined,
        text: [`<b>your best</b><br>${formatPercent(optimum.sparsity)} sparse, worth ${formatTimes(optimum.gain)}${interval ? ` (${formatInterval(interval, formatTimes)})` : ""}`], hovertemplate: "%{text}<extra></extra>",
      },
    ];
    return {
      traces,
      layout: { xaxis: axis, yaxis: { title: { text: "dense size of equal loss" }, ticksuffix: "×", rangemode: "tozero" } },
      summary: `A sparse model is worth a dense one of at most ${formatTimes(answer.limit)}${answer.limit_interval ? ` (${formatInterval(answer.limit_interval, formatTimes)})` : ""} its non-zero parameters, on the same data; ${formatTimes(optimum.gain)} at ${formatPercent(optimum.sparsity)}.`,
      table: {
        columns: [{ text: "Sparsity" }, { text: "Gain", number: true }, { text: "Interval", number: true }, { text: "Of total parameters", number: true }],
        rows: answer.points.filter((/** @type {any} */ _, /** @type {number} */ i) => i % 4 === 0).map((/** @type {any} */ p) => [formatPercent(p.sparsity), formatTimes(p.gain), formatInterval(p.interval, formatTimes) || "none", formatTimes(p.total_params_gain)]),
      },
    };
  };
}

/**
 * Predicted against measured loss of forecasts, with prediction intervals.
 *
 * @param {any[]} scored Forecasts that have a score.
 * @returns {Draw}
 */
export function forecastsFigure(scored) {
  return (palette, axes) => {
    const log = axes === "log";
    const [low, high] = extent(scored.flatMap((f) => [f.score.measured, f.prediction_interval?.low ?? f.loss, f.prediction_interval?.high ?? f.loss]));
    const counted = (/** @type {any} */ f) => f.score.as_planned && !f.score.excluded;
    const trace = (/** @type {string} */ name, /** @type {any[]} */ some, /** @type {any} */ marker) => ({
      type: "scatter", mode: "markers", name, x: some.map((f) => f.score.measured), y: some.map((f) => f.loss), marker: { size: 8, ...marker },
      error_y: { type: "data", symmetric: false, array: some.map((f) => (f.prediction_interval?.high ?? f.loss) - f.loss), arrayminus: some.map((f) => f.loss - (f.prediction_interval?.low ?? f.loss)), color: marker.color, thickness: 1.2, width: 2 },
      text: some.map((f) => `<b>${plain(f.external_id)}</b><br>forecast ${formatLoss(f.loss)}${f.prediction_interval ? ` (${formatInterval(f.prediction_interval, formatLoss)})` : ""}<br>measured ${formatLoss(f.score.measured)}`), hovertemplate: "%{text}<extra></extra>",
    });
    const inside = scored.filter((f) => counted(f) && f.score.inside_prediction_interval !== false);
    const outside = scored.filter((f) => counted(f) && f.score.inside_prediction_interval === false);
    const others = scored.filter((f) => !counted(f));
    const type = log ? "log" : "linear";
    return {
      traces: [
        { type: "scatter", mode: "lines", x: [low, high], y: [low, high], line: { color: palette.muted, width: 1, dash: "dot" }, hoverinfo: "skip", showlegend: false },
        trace("inside", inside, { symbol: "circle", color: palette.accent }),
        trace("outside", outside, { symbol: "diamond", color: palette.point }),
        trace("not counted", others, { symbol: "circle-open", color: palette.muted }),
      ].filter((t) => t.x.length > 0),
      layout: { xaxis: { title: { text: "measured loss" }, type }, yaxis: { title: { text: "forecast loss" }, type } },
      summary: `${plural(scored.length, "scored forecast")}: ${inside.length} inside their prediction interval, ${outside.length} outside, ${others.length} not counted.`,
      table: {
        columns: [{ text: "Run" }, { text: "Forecast", number: true }, { text: "Interval of a new run", number: true }, { text: "Measured", number: true }],
        rows: scored.map((f) => [f.external_id, formatLoss(f.loss), formatInterval(f.prediction_interval, formatLoss) || "none", formatLoss(f.score.measured)]),
      },
    };
  };
}

/**
 * The trade-off of loss and cost.
 *
 * @param {any} plan
 * @returns {Draw}
 */
export function frontierFigure(plan) {
  return (palette, axes) => ({
    traces: [
      {
        type: "scatter", mode: "lines+markers", name: "least loss", x: plan.frontier.map((/** @type {any} */ p) => p.compute), y: plan.frontier.map((/** @type {any} */ p) => p.loss), line: { color: palette.accent, width: 2 },
        marker: { size: 7, color: plan.frontier.map((/** @type {any} */ p) => sparsityColour(p.sparsity, palette)), line: { color: palette.accent, width: 1 } },
        text: plan.frontier.map((/** @type {any} */ p) => `${formatFlops(p.compute)}: loss ${formatLoss(p.loss)}<br>${formatCount(p.nonzero_params)} non-zero, ${formatPercent(p.sparsity)} sparse`), hovertemplate: "%{text}<extra></extra>",
      },
      {
        type: "scatter", mode: "markers", name: "this plan", x: [plan.optimum.compute], y: [plan.optimum.loss], marker: { size: 13, symbol: "star", color: palette.point, line: { color: palette.surface, width: 1 } },
        text: [`<b>this plan</b><br>${formatFlops(plan.optimum.compute)}: loss ${formatLoss(plan.optimum.loss)}`], hovertemplate: "%{text}<extra></extra>",
      },
      ...(plan.dense ? [{ type: "scatter", mode: "markers", name: "dense", x: [plan.dense.compute], y: [plan.dense.loss], marker: { size: 11, symbol: "square", color: palette.muted }, hovertemplate: `<b>dense</b><br>${formatFlops(plan.dense.compute)}: loss ${formatLoss(plan.dense.loss)}<extra></extra>` }] : []),
    ],
    layout: { xaxis: { title: { text: "compute, FLOP" }, type: axes, exponentformat: "power", dtick: axes === "log" ? 1 : undefined }, yaxis: { title: { text: "predicted loss" } } },
    summary: "The least loss at other costs under the same bounds.",
    table: {
      columns: [{ text: "Compute" }, { text: "Loss", number: true }, { text: "Non-zero", number: true }, { text: "Sparsity", number: true }, { text: "Data", number: true }],
      rows: plan.frontier.map((/** @type {any} */ p) => [formatFlops(p.compute), formatLoss(p.loss), formatCount(p.nonzero_params), formatPercent(p.sparsity), formatCount(p.data)]),
    },
  });
}

/**
 * What a training step costs at each sparsity.
 *
 * @param {any} profile Its `cost`, `patterns` and `pattern_costs`.
 * @returns {Draw}
 */
export function stepCostFigure({ cost, patterns, pattern_costs }) {
  const at = stepCost(cost);
  return (palette, axes) => {
    const log = axes === "log";
    const { axis, place } = sparsityAxis(log);
    const corners = cost.points ? cost.points.map((/** @type {number[]} */ p) => p[0]) : [1 - cost.efficiency];
    const even = Array.from({ length: 65 }, (_, i) => (log ? 1 - 2 ** (-i / 13) : i / 64));
    const most = log ? even[even.length - 1] : 1;
    const s = [...new Set([...even, ...corners])].filter((value) => value <= most).sort((a, b) => a - b);
    const marked = patterns.map((/** @type {string} */ name) => {
      const [kept, of] = name.split(":").map(Number);
      return { name, sparsity: 1 - kept / of, cost: pattern_costs[name] ?? at(1 - kept / of), measured: pattern_costs[name] !== undefined };
    }).filter((/** @type {any} */ p) => p.sparsity >= 0 && p.sparsity < 1);
    const say = (/** @type {number} */ value) => `${formatPercent(value)} sparse<br>a step costs ${formatNumber(at(value), 3)} of a dense one`;
    return {
      traces: [
        { type: "scatter", mode: "lines", name: "this device", x: s.map(place), y: s.map(at), line: { color: palette.accent, width: 2 }, text: s.map(say), hovertemplate: "%{text}<extra></extra>" },
        { type: "scatter", mode: "lines", name: "zeros free", x: s.map(place), y: s.map((value) => 1 - value), line: { color: palette.muted, width: 1, dash: "dash" }, hoverinfo: "skip" },
        ...(cost.points ? [{ type: "scatter", mode: "markers", name: "measured", x: cost.points.filter((/** @type {number[]} */ p) => p[0] <= most).map((/** @type {number[]} */ p) => place(p[0])), y: cost.points.filter((/** @type {number[]} */ p) => p[0] <= most).map((/** @type {number[]} */ p) => p[1]), marker: { size: 7, color: palette.accent }, hoverinfo: "skip" }] : []),
        ...(marked.length > 0 ? [{ type: "scatter", mode: "markers+text", cliponaxis: false, name: "patterns", x: marked.map((/** @type {any} */ p) => place(p.sparsity)), y: marked.map((/** @type {any} */ p) => p.cost), marker: { size: 10, symbol: "diamond", color: palette.point }, text: marked.map((/** @type {any} */ p) => p.name), textposition: "top right", hovertemplate: marked.map((/** @type {any} */ p) => `<b>${plain(p.name)}</b><br>${p.measured ? "measured" : "as the curve"}: ${formatNumber(p.cost, 3)}<extra></extra>`) }] : []),
      ],
      layout: { xaxis: axis, yaxis: { title: { text: "cost of a step, dense is 1" }, rangemode: "tozero" } },
      summary: `At 50 % a step costs ${formatNumber(at(0.5), 3)} of a dense one, at 90 % ${formatNumber(at(0.9), 3)}${at(0.9) >= 1 ? "; zeros alone gain nothing" : at(0.05) >= 1 ? "; few zeros gain nothing" : ""}.`,
      table: {
        columns: [{ text: "Sparsity" }, { text: "Cost of a step", number: true }],
        rows: [...[0, 0.25, 0.5, 0.75, 0.875, 0.9375].map((value) => [formatLevel(value), formatNumber(at(value), 3)]), ...marked.map((/** @type {any} */ p) => [p.name, formatNumber(p.cost, 3)])],
      },
    };
  };
}

/**
 * The cost of a step as the service computes it.
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

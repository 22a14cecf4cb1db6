/**
 * Small pictures of what is typed or planned, which the service does not draw: axes, lines, bars and marks. They have the
 * same attributes as the service's pictures, by which the frame finds values.
 *
 * @module sketch
 */

import { placeOn, valueOn } from "./scales.js";

/** @typedef {"accent" | "point" | "muted" | "text"} Role Purpose of a colour of the page. */

/**
 * @typedef {object} SketchAxis
 * @property {string} name
 * @property {"linear" | "log" | "density"} scale
 * @property {(value: number) => string} format
 * @property {boolean} [zero] Whether the axis includes 0.
 * @property {boolean} [whole] Whether the axis has whole numbers only.
 */

/**
 * @typedef {object} Sketch
 * @property {SketchAxis} x
 * @property {SketchAxis} y
 * @property {{points: [number, number][], role: Role, dashed?: boolean, name?: string}[]} lines Lines with a name appear in the legend.
 * @property {{x: number, low: number, high: number, role: Role}[]} [bars]
 * @property {{points: [number, number][], role: Role, shape: Shape, name?: string, labels?: string[]}[]} [marks]
 */

/** @typedef {"circle" | "ring" | "square" | "diamond"} Shape */

const NS = "http://www.w3.org/2000/svg";
const [LEFT, RIGHT, BOTTOM, ROW] = [64, 14, 46, 18];
/** Average width of a letter, in units of the picture. */
const LETTER = 6.6;

/** @param {string} tag @param {Record<string, string | number>} attributes @param {string} [text] @returns {SVGElement} */
function node(tag, attributes, text) {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(typeof value === "number" ? Math.round(value * 100) / 100 : value));
  if (text !== undefined) made.textContent = text;
  return made;
}

/**
 * @param {Sketch} sketch
 * @param {{width: number, height: number, shown: import("./plots.js").Window, title: string}} on
 * @returns {SVGElement}
 */
export function sketch({ x, y, lines, bars = [], marks = [] }, { width, height, shown, title }) {
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  const svg = node("svg", { xmlns: NS, viewBox: `0 0 ${width} ${height}`, "font-family": "sans-serif", "font-size": 12, fill: colour("text") });
  svg.append(node("title", {}, title), node("rect", { width: "100%", height: "100%", fill: colour("surface") }));

  const named = [...lines, ...marks].filter((entry) => entry.name);
  let [across, down] = [LEFT, 14];
  for (const entry of named) {
    const name = /** @type {string} */ (entry.name);
    const wide = 28 + name.length * LETTER + 14;
    if (across + wide > width && across > LEFT) [across, down] = [LEFT, down + ROW];
    svg.append("shape" in entry ? mark(entry.shape, [across + 10, down - 4], colour(entry.role), colour("surface")) : node("path", { d: `M${across} ${down - 4}h20`, stroke: colour(entry.role), "stroke-width": 2, ...("dashed" in entry && entry.dashed ? { "stroke-dasharray": "6 4" } : {}) }));
    svg.append(node("text", { x: across + 26, y: down }, name));
    across += wide;
  }
  const top = down + (named.length > 0 ? 10 : 0);
  const area = { left: LEFT, top, width: Math.max(60, width - LEFT - RIGHT), height: Math.max(60, height - top - BOTTOM) };

  const points = [...lines.flatMap((line) => line.points), ...marks.flatMap((one) => one.points), ...bars.flatMap((bar) => [[bar.x, bar.low], [bar.x, bar.high]])];
  const [h, v] = [ends(x, points.map((p) => p[0]), shown.x), ends(y, points.map((p) => p[1]), shown.y)];
  const at = (/** @type {readonly number[]} */ [a, b]) => [area.left + ((placeOn(x.scale, a) - h[0]) / (h[1] - h[0])) * area.width, area.top + (1 - (placeOn(y.scale, b) - v[0]) / (v[1] - v[0])) * area.height];
  svg.setAttribute("data-plot", `${area.left} ${area.top} ${area.width} ${area.height}`);
  svg.setAttribute("data-x", `${x.scale} ${h[0]} ${h[1]}`);
  svg.setAttribute("data-y", `${y.scale} ${v[0]} ${v[1]}`);

  const bottom = area.top + area.height;
  const grid = { stroke: colour("line"), fill: "none" };
  for (const value of ticks(x, h, area.width / 62)) {
    const place = area.left + ((placeOn(x.scale, value) - h[0]) / (h[1] - h[0])) * area.width;
    svg.append(node("path", { d: `M${place} ${area.top}V${bottom}`, ...grid }), node("text", { x: place, y: bottom + 17, "text-anchor": "middle" }, x.format(value)));
  }
  for (const value of ticks(y, v, area.height / 34)) {
    const place = bottom - ((placeOn(y.scale, value) - v[0]) / (v[1] - v[0])) * area.height;
    svg.append(node("path", { d: `M${area.left} ${place}H${area.left + area.width}`, ...grid }), node("text", { x: area.left - 8, y: place + 4, "text-anchor": "end" }, y.format(value)));
  }
  const middle = area.top + area.height / 2;
  svg.append(node("text", { x: area.left + area.width / 2, y: bottom + 36, "text-anchor": "middle" }, x.name), node("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, y.name));

  const clip = `clip-${[area.left, area.top, area.width, area.height].map(Math.round).join("-")}`;
  const path = node("clipPath", { id: clip });
  path.append(node("rect", { x: area.left, y: area.top, width: area.width, height: area.height }));
  const [outer, inner] = [node("g", { "clip-path": `url(#${clip})` }), node("g", { "data-inside": "" })];
  outer.append(inner);
  for (const line of lines) {
    const d = line.points.map((point, i) => `${i === 0 ? "M" : "L"}${at(point).map((n) => n.toFixed(2)).join(" ")}`).join("");
    inner.append(node("path", { d, fill: "none", stroke: colour(line.role), "stroke-width": line.dashed ? 1.2 : 2.2, ...(line.dashed ? { "stroke-dasharray": "6 4" } : {}) }));
  }
  for (const bar of bars) {
    const [low, high] = [at([bar.x, bar.low]), at([bar.x, bar.high])];
    inner.append(node("path", { d: `M${low.join(" ")}L${high.join(" ")}M${low[0] - 3} ${low[1]}h6M${high[0] - 3} ${high[1]}h6`, fill: "none", stroke: colour(bar.role), "stroke-width": 1.2 }));
  }
  svg.append(path, outer, node("rect", { x: area.left, y: area.top, width: area.width, height: area.height, fill: "none", stroke: colour("muted") }));
  for (const { points: places, role, shape, labels } of marks) {
    for (const [i, point] of places.entries()) {
      const [a, b] = at(point);
      if (a < area.left - 1 || a > area.left + area.width + 1 || b < area.top - 1 || b > bottom + 1) continue;
      svg.append(mark(shape, [a, b], colour(role), colour("surface")));
      if (labels?.[i]) svg.append(node("text", { x: a + 7, y: Math.max(area.top + 11, b - 6), "paint-order": "stroke", stroke: colour("surface"), "stroke-width": 3 }, labels[i]));
    }
  }
  return svg;
}

/** @param {Shape} shape @param {number[]} at @param {string} fill @param {string} edge @returns {SVGElement} */
function mark(shape, [x, y], fill, edge) {
  if (shape === "circle") return node("circle", { cx: x, cy: y, r: 4, fill, stroke: edge });
  if (shape === "ring") return node("circle", { cx: x, cy: y, r: 4, fill: "none", stroke: fill, "stroke-width": 1.6 });
  const [half, d] = shape === "square" ? [4.2, (/** @type {number} */ r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`] : [6, (/** @type {number} */ r) => `M${x - r} ${y}L${x} ${y - r}L${x + r} ${y}L${x} ${y + r}Z`];
  return node("path", { d: d(half), fill, stroke: edge });
}

/** @param {SketchAxis} axis @param {number[]} values @param {[number, number] | null} shown @returns {[number, number]} Places of the ends. */
function ends({ scale, zero }, values, shown) {
  const places = [...values, ...(zero && scale !== "log" ? [0] : [])].map((value) => placeOn(scale, value)).filter(Number.isFinite);
  let [low, high] = places.length > 0 ? [Math.min(...places), Math.max(...places)] : [0, 1];
  if (high - low <= 1e-9 * Math.max(Math.abs(high), 1e-9)) [low, high] = [low - 0.05 * Math.max(1, Math.abs(low)), high + 0.05 * Math.max(1, Math.abs(high))];
  const room = 0.05 * (high - low);
  [low, high] = [zero && low === 0 ? 0 : low - room, high + room];
  const [from, to] = (shown ?? []).map((value) => placeOn(scale, value));
  return [Number.isFinite(from) ? from : low, Number.isFinite(to) ? to : high];
}

/** Sparsities labelled on an axis of kind density. */
const DENSITIES = [0, 0.25, 0.5, 0.75, 0.875, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999];

/** @param {SketchAxis} axis @param {[number, number]} ends @param {number} most @returns {number[]} Values that get a label. */
function ticks({ scale, whole }, [low, high], most) {
  if (whole) return even(low, high, Math.min(most, Math.max(2, high - low))).filter(Number.isInteger);
  if (scale === "density") {
    let last = -Infinity;
    return DENSITIES.filter((value) => {
      const place = placeOn(scale, value);
      const fits = place >= low - 1e-9 && place <= high + 1e-9 && place - last >= (high - low) / Math.max(2, most);
      if (fits) last = place;
      return fits;
    });
  }
  if (scale === "log") {
    const decades = Math.floor(high) - Math.ceil(low) + 1;
    if (decades >= 2) {
      const every = Math.ceil(decades / Math.max(2, most));
      return Array.from({ length: decades }, (_, i) => Math.ceil(low) + i).filter((exponent) => exponent % every === 0).map((exponent) => 10 ** exponent);
    }
    return even(valueOn(scale, low), valueOn(scale, high), Math.min(most, 6));
  }
  return even(low, high, most);
}

/** @param {number} low @param {number} high @param {number} most @returns {number[]} Multiples of 1, 2 or 5 times a power of ten. */
function even(low, high, most) {
  const least = (high - low) / Math.max(2, most);
  const magnitude = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].map((factor) => factor * magnitude).find((size) => size >= least * (1 - 1e-9)) ?? 10 * magnitude;
  const [first, last] = [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)];
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

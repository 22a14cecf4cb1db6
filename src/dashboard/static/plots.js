/**
 * Frames for pictures: the SVG that the service draws, with hovering, zooming, keyboard control and downloads on top, a
 * sentence, and a table of its numbers. A few pictures, such as those of forms, are sketched here.
 *
 * @module plots
 */

import { getPicture } from "./api.js";
import { copyButtons } from "./copy.js";
import { announce, el, empty, failure, fill, table } from "./dom.js";
import { saveBlob, toPng } from "./save.js";
import { geometryOf, nearest, neighbour, pathsOf, zoomed } from "./scales.js";
import { sketch } from "./sketch.js";

/** @typedef {{x: [number, number] | null, y: [number, number] | null}} Window Values at the ends of the visible range. */

/**
 * @typedef {object} Series Values of a picture, at the places where the picture shows them.
 * @property {string} name
 * @property {[number, number][]} points In the units of the axes.
 * @property {boolean} [line] Whether places between two points are values too.
 * @property {(index: number, x: number, y: number) => string[]} say Describes a value in lines, the first of which names it.
 * @property {(index: number) => string | null} [link] Address that a click leads to.
 */

/** @typedef {{name: string, format: (value: number) => string, parse: (text: string) => number}} Axis */

/**
 * @typedef {object} Details
 * @property {Series[]} series
 * @property {Axis} x
 * @property {Axis} y
 * @property {string} summary What the picture shows, in one sentence.
 * @property {import("./dom.js").Child[]} [notes] Further sentences below the picture.
 * @property {{columns: {text: string, number?: boolean}[], rows: import("./dom.js").Child[][]}} table The picture's numbers.
 */

/**
 * @typedef {object} Figure
 * @property {string} [path] Path of the service's picture.
 * @property {import("./api.js").Query} [query] Query of the picture, without parameters for its look.
 * @property {import("./sketch.js").Sketch} [sketch] Drawn instead of a picture of the service.
 * @property {import("./copy.js").Asked} [asked] The question that the picture answers, for copying.
 * @property {Details | string | Promise<Details | string>} details Details, or the reason why there is no picture.
 */

/** @typedef {(axes: string) => Figure} Draw `axes` is the choice made in the frame; "" is the default. */

/** Distance in pixels within which the pointer selects a value. */
const NEAR = 24;
/** A shorter movement with the button pressed counts as a click. */
const DRAG = 6;
/** How long the size must be stable before the picture is drawn again. */
const REST_MS = 150;

/**
 * @typedef {object} Frame
 * @property {HTMLElement} node
 * @property {(draw: Draw) => Promise<void>} show
 * @property {(error: unknown, retry?: () => void) => void} fail Shows why there is no picture.
 * @property {(text: string) => void} say Shows a text instead of a picture.
 * @property {() => void} busy
 */

/**
 * A frame for a picture.
 *
 * @param {object} options
 * @param {string} options.title
 * @param {string} options.name Name of the frame in ids, in the address, and of files.
 * @param {[string, string][]} [options.choices] Kinds of axes and their names; the first, "", is the default.
 * @param {string} [options.axes] The initial kind of axes.
 * @param {(axes: string) => void} [options.onAxes] Called when the user switches the axes.
 * @param {(to: string) => void} [options.onLink] Called with the address that a click leads to.
 * @param {AbortSignal} options.signal Ends the frame.
 * @returns {Frame}
 */
export function picture({ title, name, choices = [], axes = "", onAxes, onLink, signal }) {
  if (!choices.some(([value]) => value === axes)) axes = choices[0]?.[0] ?? "";
  const tip = el("div", { class: "tip", hidden: true });
  const plot = el("div", { class: "plot", role: "application", tabindex: "0", "aria-label": `${title}: arrow keys go through its values, plus and minus zoom, 0 shows all`, "aria-describedby": `caption-${name}` });
  const state = el("div", { class: "plot-state" }, el("p", { class: "state" }, "Loading…"));
  const caption = el("figcaption", { id: `caption-${name}` });
  const numbers = el("details", { class: "numbers", hidden: true });
  const ranges = el("details", { class: "numbers", hidden: true });
  const copies = el("div", { class: "numbers" });
  const tool = (/** @type {string} */ text, /** @type {string} */ label, /** @type {() => void} */ click) => el("button", { type: "button", class: "quiet", "aria-label": `${label}: ${title}`, title: label, on: { click } }, text);
  const choice = el(
    "select",
    { "aria-label": `Axes: ${title}`, hidden: choices.length === 0, on: { change: () => { axes = choice.value; onAxes?.(axes); shown = { x: null, y: null }; redraw(); } } },
    choices.map(([value, text]) => el("option", { value, selected: value === axes }, text)),
  );
  // Without a picture there is nothing to zoom.
  const tools = el("span", { class: "tools" }, tool("−", "Zoom out", () => zoom(2)), tool("+", "Zoom in", () => zoom(0.5)), tool("Reset", "Reset to the whole picture", whole), choice, tool("SVG", "Download as SVG", () => save("svg")), tool("PNG", "Download as PNG", () => save("png")));
  const node = el(
    "figure",
    { class: "picture", "data-picture": name, "aria-labelledby": `picture-${name}` },
    el(
      "div",
      { class: "picture-head" },
      el("h3", { id: `picture-${name}` }, title),
      tools,
    ),
    el("div", { class: "plot-box" }, plot, tip, state),
    caption,
    el("div", { class: "more" }, numbers, ranges, copies),
  );

  /** @type {Draw | null} */
  let last = null;
  /** @type {Figure | null} The figure that is drawn. */
  let figure = null;
  /** @type {Details | null} */
  let details = null;
  /** @type {Window} The range zoomed to; it is kept when another question is asked. */
  let shown = { x: null, y: null };
  /** @type {import("./scales.js").Geometry | null} */
  let geometry = null;
  /** @type {import("./scales.js").Paths} Places of the values. */
  let paths = [];
  /** @type {import("./scales.js").Spot | null} The selected value. */
  let spot = null;
  let drawing = new AbortController();
  let size = [0, 0];

  /** @param {number} factor Change of the visible range: above 1 shows more. */
  function zoom(factor) {
    if (!geometry) return;
    shown = zoomed(geometry, [0.5 - factor / 2, 0.5 + factor / 2], [0.5 - factor / 2, 0.5 + factor / 2]);
    redraw();
  }

  function whole() {
    shown = { x: null, y: null };
    redraw();
  }

  /** Draws the last figure again, with the present settings. */
  async function redraw() {
    if (!last || signal.aborted) return;
    drawing.abort();
    drawing = new AbortController();
    const now = drawing.signal;
    node.setAttribute("aria-busy", "true");
    try {
      figure = last(axes);
      const wanted = figure;
      // The picture need not wait for its details.
      const [, told] = await Promise.all([place(wanted, now), wanted.details]);
      if (now.aborted || signal.aborted) return;
      if (typeof told === "string") {
        instead(empty(told), true);
        return;
      }
      details = told;
      paths = geometry ? pathsOf(geometry, details.series) : [];
      tell();
      node.dataset.drawn = "true";
      node.removeAttribute("aria-busy");
    } catch (error) {
      if (now.aborted || signal.aborted) return;
      // Another question is about to be asked; until then the old picture stays.
      if (/** @type {Error} */ (error).name === "AbortError") node.removeAttribute("aria-busy");
      // Retrying would not help: the runs do not determine the answer.
      else if (/** @type {any} */ (error).status === 409) instead(empty("No picture: ", /** @type {any} */ (error).detail, "."), true);
      else instead(failure(error, () => redraw()), true);
    }
  }

  /** @param {Figure} wanted @param {AbortSignal} now Puts the picture into its place. */
  async function place(wanted, now) {
    plot.hidden = false;
    size = [plot.clientWidth || 600, plot.clientHeight || 320];
    const [width, height] = size.map((pixels) => Math.round(pixels));
    const svg = wanted.sketch
      ? sketch(wanted.sketch, { width, height, shown, title })
      : await getPicture(/** @type {string} */ (wanted.path), { ...wanted.query, ...look(), bare: true, width: Math.min(2400, Math.max(280, width)), height: Math.min(1800, Math.max(200, height)) }, now);
    if (now.aborted || signal.aborted) return;
    // The frame names the picture; a title of its own would show a tooltip over the selected value.
    svg.querySelector("title")?.remove();
    svg.setAttribute("aria-hidden", "true");
    svg.removeAttribute("role");
    svg.removeAttribute("width");
    svg.removeAttribute("height");
    plot.replaceChildren(svg);
    state.hidden = true;
    tools.hidden = false;
    point(null);
    geometry = geometryOf(svg);
  }

  /** @returns {import("./api.js").Query} Parameters for the look of a picture. */
  function look() {
    const range = (/** @type {[number, number] | null} */ ends) => ends?.map((end) => Number(end.toPrecision(8))).join(",");
    return { axes, x_range: range(shown.x), y_range: range(shown.y), theme: isDark() ? "dark" : "light" };
  }

  /** Shows summary, notes and table of what is drawn. */
  function tell() {
    if (!details) return;
    fill(caption, details.summary, (details.notes ?? []).map((entry) => [" ", entry]));
    const rows = details.table;
    fill(numbers, el("summary", {}, "Numbers of this picture"));
    numbers.hidden = rows.rows.length === 0;
    const show = () => {
      if (numbers.open && numbers.childElementCount === 1) numbers.append(table({ caption: title, hideCaption: true, ...rows }));
    };
    numbers.ontoggle = show;
    show();
    fill(copies, figure?.asked && copyButtons(figure.asked));
    tellRanges();
  }

  /** Shows inputs for the ends of the axes. */
  function tellRanges() {
    const at = geometry;
    const about = details;
    if (!at || !about) return;
    const open = ranges.open;
    const input = (/** @type {"x" | "y"} */ which, /** @type {0 | 1} */ end) =>
      el("input", { name: `${which}${end}`, size: 9, autocomplete: "off", "aria-label": `${which === "x" ? "Horizontal" : "Vertical"} axis ${end === 0 ? "from" : "to"}: ${title}`, value: about[which].format(at[which].value(end)) });
    const inputs = { x: [input("x", 0), input("x", 1)], y: [input("y", 0), input("y", 1)] };
    const wrong = el("span", { class: "bad", role: "alert" });
    const use = (/** @type {Event} */ event) => {
      event.preventDefault();
      const read = (/** @type {"x" | "y"} */ which) => {
        const ends = inputs[which].map((/** @type {HTMLInputElement} */ node) => about[which].parse(node.value));
        return ends.every(Number.isFinite) && ends[0] < ends[1] ? /** @type {[number, number]} */ (ends) : null;
      };
      const [x, y] = [read("x"), read("y")];
      fill(wrong, x && y ? "" : "Two numbers, the smaller one first.");
      if (!x || !y) return;
      shown = { x, y };
      redraw();
    };
    const row = (/** @type {"x" | "y"} */ which) => el("span", { class: "range" }, el("span", {}, about[which].name), inputs[which][0], "to", inputs[which][1]);
    fill(ranges, el("summary", {}, "Axes from, to"), el("form", { class: "ranges", on: { submit: use } }, row("x"), row("y"), el("button", { type: "submit" }, "Show"), wrong));
    ranges.open = open;
    ranges.hidden = false;
  }

  /** @param {import("./scales.js").Spot | null} found Marks the selected value and describes it. */
  function point(found) {
    spot = found;
    const svg = plot.querySelector("svg");
    svg?.querySelector(".spot")?.remove();
    tip.hidden = !found;
    plot.classList.toggle("leads", Boolean(found && linkOf(found)));
    if (!found || !svg || !details) return [];
    const lines = found.series < 0 ? found.lines : details.series[found.series].say(found.index, found.x, found.y);
    fill(tip, lines.map((line, i) => el(i === 0 ? "strong" : "span", {}, line)));
    if (found.series >= 0) {
      const ring = document.createElementNS(svg.namespaceURI, "circle");
      for (const [key, value] of Object.entries({ class: "spot", cx: found.at[0], cy: found.at[1], r: 6 })) ring.setAttribute(key, String(value));
      svg.append(ring);
    }
    const matrix = /** @type {SVGGraphicsElement} */ (svg).getScreenCTM();
    const box = plot.getBoundingClientRect();
    if (matrix) {
      const seen = new DOMPoint(...found.at).matrixTransform(matrix);
      const [left, top] = [seen.x - box.left, seen.y - box.top];
      tip.style.left = `${Math.min(Math.max(4, left + 12), Math.max(4, box.width - tip.offsetWidth - 4))}px`;
      tip.style.top = `${top - tip.offsetHeight - 12 < 0 ? top + 14 : top - tip.offsetHeight - 12}px`;
    }
    return lines;
  }

  /** @param {import("./scales.js").Spot} found @returns {string | null} */
  const linkOf = (found) => (found.series < 0 ? null : (details?.series[found.series].link?.(found.index) ?? null));

  /** @param {PointerEvent} event @returns {[number, number] | null} Its place in units of the picture. */
  function placeOf(event) {
    const matrix = plot.querySelector("svg")?.getScreenCTM();
    if (!matrix) return null;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    return [at.x, at.y];
  }

  /** @type {{from: [number, number], shift: boolean, box: SVGElement | null} | null} */
  let drag = null;

  plot.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    const from = placeOf(event);
    if (event.button !== 0 || !geometry || !from || !geometry.holds(from)) return;
    drag = { from, shift: event.shiftKey, box: null };
    if (event.pointerType !== "touch") plot.setPointerCapture(event.pointerId);
  });
  plot.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    const at = placeOf(event);
    const svg = plot.querySelector("svg");
    if (!at || !geometry || !svg) return;
    if (drag && event.pointerType !== "touch" && Math.hypot(at[0] - drag.from[0], at[1] - drag.from[1]) > DRAG) {
      point(null);
      if (drag.shift) {
        const inside = svg.querySelector("[data-inside]");
        inside?.setAttribute("transform", `translate(${at[0] - drag.from[0]} ${at[1] - drag.from[1]})`);
        return;
      }
      const box = drag.box ?? svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "rect"));
      drag.box = box;
      const [a, b] = [geometry.within(drag.from), geometry.within(at)];
      for (const [key, value] of Object.entries({ class: "band", x: Math.min(a[0], b[0]), y: Math.min(a[1], b[1]), width: Math.abs(a[0] - b[0]), height: Math.abs(a[1] - b[1]) })) box.setAttribute(key, String(value));
      return;
    }
    if (!details || !geometry.holds(at)) {
      if (spot) point(null);
      return;
    }
    const found = nearest(paths, geometry, at, NEAR);
    const values = [details.x.format(geometry.x.value(geometry.share(at)[0])), details.y.format(geometry.y.value(geometry.share(at)[1]))];
    point(found ?? { series: -1, index: -1, x: 0, y: 0, at, lines: [`${values[0]}, ${values[1]}`] });
  });
  plot.addEventListener("pointerup", (/** @type {PointerEvent} */ event) => {
    const at = placeOf(event);
    const begun = drag;
    drag = null;
    begun?.box?.remove();
    if (!begun || !at || !geometry) return;
    const [from, to] = [geometry.share(geometry.within(begun.from)), geometry.share(geometry.within(at))];
    if (Math.hypot(at[0] - begun.from[0], at[1] - begun.from[1]) <= DRAG || event.pointerType === "touch") {
      const found = nearest(paths, geometry, at, NEAR);
      const link = found && linkOf(found);
      if (link) onLink?.(link);
      return;
    }
    const order = (/** @type {number} */ a, /** @type {number} */ b) => /** @type {[number, number]} */ (a < b ? [a, b] : [b, a]);
    if (begun.shift) {
      const [start, end] = [geometry.share(begun.from), geometry.share(at)];
      shown = zoomed(geometry, [start[0] - end[0], 1 + start[0] - end[0]], [start[1] - end[1], 1 + start[1] - end[1]]);
    } else {
      const [x, y] = [order(from[0], to[0]), order(from[1], to[1])];
      // A movement along one axis leaves the other axis as it is.
      const thin = 0.03;
      shown = zoomed(geometry, x[1] - x[0] < thin ? [0, 1] : x, y[1] - y[0] < thin ? [0, 1] : y);
    }
    redraw();
  });
  plot.addEventListener("pointercancel", () => { drag?.box?.remove(); drag = null; });
  plot.addEventListener("pointerleave", () => { if (!drag) point(null); });
  plot.addEventListener("dblclick", whole);
  plot.addEventListener("blur", () => point(null));
  plot.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    if (key === "+" || key === "=") zoom(0.5);
    else if (key === "-") zoom(2);
    else if (key === "0") whole();
    else if (key === "Escape") point(null);
    else if (key === "Enter") {
      const link = spot && linkOf(spot);
      if (link) onLink?.(link);
    } else if (["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(key)) {
      const found = neighbour(paths, spot, key);
      if (found) announce(point(found).join(", "));
    } else return;
    event.preventDefault();
  });

  /** @param {"svg" | "png"} kind */
  async function save(kind) {
    if (!figure) return;
    try {
      const file = `${figure.path ? `${decodeURIComponent(figure.path.split("/")[3])}-` : ""}${name}.${kind}`;
      const drawn = plot.querySelector("svg");
      if (figure.path) saveBlob(await getPicture(figure.path, { ...figure.query, ...look() }, signal, kind), file);
      else if (drawn) {
        const copy = /** @type {SVGElement} */ (drawn.cloneNode(true));
        copy.querySelector(".spot")?.remove();
        const text = new XMLSerializer().serializeToString(copy);
        saveBlob(kind === "svg" ? new Blob([text], { type: "image/svg+xml" }) : await toPng(text, plot.clientWidth, plot.clientHeight), file);
      }
    } catch (error) {
      if (!signal.aborted) fill(caption, failure(error, () => save(kind)));
    }
  }

  const onTheme = () => redraw();
  addEventListener("themechange", onTheme);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let resting;
  const sizes = new ResizeObserver(() => {
    if (!geometry || (Math.abs(plot.clientWidth - size[0]) < 2 && Math.abs(plot.clientHeight - size[1]) < 2) || plot.clientWidth === 0) return;
    clearTimeout(resting);
    resting = setTimeout(redraw, REST_MS);
  });
  sizes.observe(plot);
  signal.addEventListener("abort", () => {
    removeEventListener("themechange", onTheme);
    sizes.disconnect();
    clearTimeout(resting);
    drawing.abort();
  });

  /** @param {HTMLElement} content @param {boolean} [again] Whether the picture may be drawn later. */
  function instead(content, again = false) {
    if (signal.aborted) return;
    if (!again) last = null;
    drawing.abort();
    geometry = null;
    details = null;
    paths = [];
    state.hidden = false;
    plot.replaceChildren();
    plot.hidden = true;
    point(null);
    fill(state, content);
    fill(caption);
    numbers.hidden = true;
    ranges.hidden = true;
    tools.hidden = true;
    fill(copies);
    delete node.dataset.drawn;
    node.removeAttribute("aria-busy");
  }

  return {
    node,
    fail: (error, retry) => instead(failure(error, retry)),
    say: (text) => instead(empty(text)),
    busy: () => node.setAttribute("aria-busy", "true"),
    async show(draw) {
      last = draw;
      await redraw();
    },
  };
}

/** @returns {boolean} Whether the page uses dark colours. */
export function isDark() {
  return getComputedStyle(document.documentElement).getPropertyValue("--scheme").trim() === "dark";
}

/**
 * Pictures: the plotting library, fetched when the first is drawn, and a frame around each with a
 * sentence, a table of its numbers and its controls.
 *
 * @module plots
 */

import { el, empty, failure, fill, table } from "./dom.js";

/**
 * @typedef {object} Palette Colours of the page, as the pictures use them.
 * @property {string} text
 * @property {string} muted
 * @property {string} grid
 * @property {string} surface
 * @property {string} accent
 * @property {string} point What marks the user's own point.
 * @property {boolean} dark
 */

/**
 * @typedef {object} Figure
 * @property {any[]} traces As the plotting library takes them.
 * @property {any} layout Likewise; the frame adds fonts and colours.
 * @property {string} summary What is to be seen, in a sentence.
 * @property {import("./dom.js").Child[]} [notes] Further sentences below the picture.
 * @property {{columns: {text: string, number?: boolean}[], rows: import("./dom.js").Child[][]}} table The same in numbers.
 */

/** @typedef {(palette: Palette, axes: string) => Figure} Draw `axes` is the choice of the frame. */

/** @type {Promise<any> | null} */
let library = null;

/** @returns {Promise<any>} The plotting library. */
export function plotly() {
  library ??= new Promise((resolve, reject) => {
    const script = el("script", { src: new URL("./plotly.js", import.meta.url).href, defer: true });
    script.addEventListener("load", () => resolve(/** @type {any} */ (window).Plotly));
    script.addEventListener("error", () => {
      library = null;
      script.remove();
      reject(new Error("The plotting library could not be loaded."));
    });
    document.head.append(script);
  });
  return library;
}

/** @returns {Palette} */
function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: read("text"), muted: read("muted"), grid: read("line"), surface: read("surface"), accent: read("accent"), point: read("point"),
    dark: read("scheme") === "dark",
  };
}

const CONFIG = {
  responsive: true,
  // The frame has buttons that a keyboard reaches too.
  displayModeBar: false,
  scrollZoom: false,
};

/** @param {any} layout @param {Palette} colours @returns {any} */
function styled(layout, colours) {
  const family = getComputedStyle(document.body).fontFamily;
  const axis = {
    gridcolor: colours.grid, linecolor: colours.muted, tickcolor: colours.muted, zeroline: false, showline: true, ticks: "outside", ticklen: 4,
    automargin: true,
  };
  return {
    autosize: true,
    margin: { l: 56, r: 16, t: 8, b: 44 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family, size: 12, color: colours.text },
    hoverlabel: { bgcolor: colours.surface, bordercolor: colours.muted, font: { family, color: colours.text }, align: "left" },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 }, itemsizing: "constant", traceorder: "normal", entrywidthmode: "pixels", entrywidth: 0, itemwidth: 30, bgcolor: "rgba(0,0,0,0)" },
    dragmode: "zoom",
    ...layout,
    xaxis: { ...axis, ...layout.xaxis, title: { standoff: 8, ...layout.xaxis.title } },
    yaxis: { ...axis, ...layout.yaxis, title: { standoff: 10, ...layout.yaxis.title } },
  };
}

/**
 * @typedef {object} Frame
 * @property {HTMLElement} node
 * @property {(draw: Draw) => Promise<void>} show
 * @property {(error: unknown, retry?: () => void) => void} fail Says why there is no picture.
 * @property {(text: string) => void} say Says what stands in place of a picture.
 * @property {() => void} busy
 */

/** @type {[string, string][]} */
const LINEAR_OR_LOG = [["linear", "linear"], ["log", "log"]];

/**
 * A frame for a picture.
 *
 * @param {object} options
 * @param {string} options.title
 * @param {string} options.name Of the frame in ids and in the address.
 * @param {[string, string][]} [options.choices] Kinds of axes and their names; linear and log unless said otherwise.
 * @param {string} options.axes The kind to start with.
 * @param {(axes: string) => void} [options.onAxes] Told when the user switches.
 * @param {(point: any) => void} [options.onClick] Told what point was clicked.
 * @param {AbortSignal} options.signal Ends the picture.
 * @returns {Frame}
 */
export function picture({ title, name, choices = LINEAR_OR_LOG, axes, onAxes, onClick, signal }) {
  const plot = el("div", { class: "plot", role: "img", "aria-label": title });
  const state = el("div", { class: "plot-state" }, el("p", { class: "state" }, "Loading…"));
  const caption = el("figcaption", {});
  const numbers = el("details", { class: "numbers" }, el("summary", {}, "Numbers of this picture"));
  const tool = (/** @type {string} */ text, /** @type {string} */ label, /** @type {() => void} */ click) => el("button", { type: "button", class: "quiet", "aria-label": `${label}: ${title}`, on: { click } }, text);
  const choice = el(
    "select",
    { "aria-label": `Axes: ${title}`, on: { change: () => { axes = choice.value; onAxes?.(axes); redraw(true); } } },
    choices.map(([value, text]) => el("option", { value, selected: value === axes }, text)),
  );
  const node = el(
    "figure",
    { class: "picture", "data-picture": name, "aria-labelledby": `picture-${name}` },
    el("div", { class: "picture-head" }, el("h3", { id: `picture-${name}` }, title), el("span", { class: "tools" }, tool("−", "Zoom out", () => zoom(2)), tool("+", "Zoom in", () => zoom(0.5)), tool("Reset", "Reset to the whole picture", () => redraw(true)), choice)),
    el("div", { class: "plot-box" }, plot, state),
    caption,
    numbers,
  );

  /** @type {Draw | null} */
  let last = null;
  let drawn = false;
  /** The library keeps what was hidden in the legend while this stays the same. */
  let revision = 0;
  /** @type {{xaxis: any, yaxis: any} | null} What was zoomed to: it outlasts another question. */
  let zoomed = null;

  /** @param {number} factor Of what is seen: above 1 shows more. */
  async function zoom(factor) {
    if (!drawn) return;
    const change = /** @type {Record<string, any>} */ ({});
    for (const axis of ["xaxis", "yaxis"]) {
      const [from, to] = /** @type {any} */ (plot)._fullLayout[axis].range;
      const [middle, half] = [(from + to) / 2, ((to - from) / 2) * factor];
      change[`${axis}.range`] = [middle - half, middle + half];
    }
    await (await plotly()).relayout(plot, change);
  }

  /** @param {boolean} whole Whether to forget what was zoomed to. */
  async function redraw(whole = false) {
    if (!last) return;
    const draw = last;
    const colours = palette();
    const figure = draw(colours, axes);
    fill(caption, figure.summary, (figure.notes ?? []).map((entry) => [" ", entry]));
    const count = figure.table.rows.length;
    fill(numbers, el("summary", {}, "Numbers of this picture"), count > 0 && table({ caption: title, hideCaption: true, ...figure.table }));
    const Plotly = await plotly();
    if (signal.aborted || draw !== last) return;
    state.hidden = true;
    plot.hidden = false;
    if (whole) {
      revision += 1;
      zoomed = null;
    }
    const layout = { ...styled(figure.layout, colours), uirevision: revision };
    if (zoomed) {
      Object.assign(layout.xaxis, zoomed.xaxis);
      Object.assign(layout.yaxis, zoomed.yaxis);
    }
    await Plotly.react(plot, figure.traces, layout, CONFIG);
    if (!drawn) {
      drawn = true;
      /** @type {any} */ (plot).on("plotly_relayout", noteZoom);
      /** @type {any} */ (plot).on("plotly_doubleclick", () => { zoomed = null; });
      if (onClick) /** @type {any} */ (plot).on("plotly_click", (/** @type {any} */ event) => onClick(event.points[0]));
    }
    node.dataset.drawn = "true";
  }

  /** @param {Record<string, any>} changed What the library or the buttons did to the layout. */
  function noteZoom(changed) {
    // It also tells of sizes.
    if (!Object.keys(changed).some((key) => /^[xy]axis/.test(key))) return;
    const seen = (/** @type {string} */ axis) => ({ range: [.../** @type {any} */ (plot)._fullLayout[axis].range], autorange: false });
    zoomed = { xaxis: seen("xaxis"), yaxis: seen("yaxis") };
  }

  const onTheme = () => redraw();
  addEventListener("themechange", onTheme);
  signal.addEventListener("abort", () => {
    removeEventListener("themechange", onTheme);
    if (drawn) plotly().then((Plotly) => Plotly.purge(plot));
  });

  const instead = (/** @type {HTMLElement} */ content) => {
    if (signal.aborted) return;
    last = null;
    state.hidden = false;
    plot.hidden = true;
    fill(state, content);
    fill(caption);
    fill(numbers, el("summary", {}, "Numbers of this picture"));
    delete node.dataset.drawn;
    node.removeAttribute("aria-busy");
  };
  const fail = (/** @type {unknown} */ error, /** @type {(() => void) | undefined} */ retry) => instead(failure(error, retry));

  return {
    node,
    fail,
    say: (text) => instead(empty(text)),
    busy() {
      node.setAttribute("aria-busy", "true");
    },
    async show(draw) {
      const first = last === null;
      last = draw;
      try {
        await redraw(first);
      } catch (error) {
        fail(error, () => this.show(draw));
      } finally {
        node.removeAttribute("aria-busy");
      }
    },
  };
}

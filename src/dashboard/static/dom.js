/**
 * Creates elements from data. Text always becomes text nodes and never markup, as names of runs come from users.
 *
 * @module dom
 */

import { parseNumber } from "./numbers.js";

/** @typedef {Node | string | number | null | undefined | false | readonly any[]} Child Lists may contain lists. */

/**
 * Creates an element.
 *
 * @param {string} tag Name of the element.
 * @param {Record<string, any>} [props] Attributes; `on` holds listeners by event, and `value`,
 *   `checked`, `disabled`, `selected`, `open`, `hidden` are set as properties.
 * @param {...Child} children Text and nodes; null, undefined and false are left out.
 * @returns {any} The element.
 */
export function el(tag, props = {}, ...children) {
  /** @type {any} */
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (PROPERTIES.has(name)) {
      node[name] = value;
    } else if (value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(node, children);
  return node;
}

const PROPERTIES = new Set(["value", "checked", "disabled", "selected", "open", "hidden", "indeterminate"]);

/** @param {Node} node @param {readonly Child[]} children */
function append(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(node, child);
    else if (child instanceof Node) node.appendChild(child);
    else if (child !== null && child !== undefined && child !== false) {
      node.appendChild(document.createTextNode(String(child)));
    }
  }
}

/**
 * Replaces the content of an element.
 *
 * @param {Element} node
 * @param {...Child} children
 */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
}

/**
 * Announces something to screen readers.
 *
 * @param {string} text
 */
export function announce(text) {
  const announcer = document.getElementById("announcer");
  if (announcer) announcer.textContent = text;
}

/** @param {string} text @returns {HTMLElement} A placeholder while something is loading. */
export function loading(text = "Loading…") {
  return el("p", { class: "state", "aria-busy": "true" }, text);
}

/** @param {...Child} children @returns {HTMLElement} A placeholder where there is nothing to show. */
export function empty(...children) {
  return el("p", { class: "state" }, children);
}

/**
 * What is shown where something failed.
 *
 * @param {unknown} error
 * @param {() => void} [retry] Adds a button that calls this.
 * @returns {HTMLElement}
 */
export function failure(error, retry) {
  const problem = /** @type {any} */ (error);
  // A single error is often repeated in the detail.
  const errors = (problem.errors ?? []).filter((/** @type {any} */ error, /** @type {number} */ _, /** @type {any[]} */ all) => all.length > 1 || !problem.detail?.includes(error.detail));
  return el(
    "div",
    { class: "failure", role: "alert" },
    el("strong", {}, problem.title ?? "Something went wrong"),
    el("p", {}, sentence(problem.detail ?? problem.message ?? String(error))),
    errors.length > 0 &&
      el("ul", {}, errors.map((/** @type {any} */ e) => el("li", {}, el("code", {}, e.pointer.replace(/^\//, "")), " ", e.detail))),
    (problem.suggestions ?? []).length > 0 && [
      el("p", {}, "Runs that settle it:"),
      el("ul", {}, problem.suggestions.map((/** @type {any} */ run) => el("li", {}, `${run.nonzero_params.toPrecision(3)} non-zero parameters, sparsity ${run.sparsity.toPrecision(3)}, data ${run.data.toPrecision(3)}`))),
    ],
    retry && el("button", { type: "button", on: { click: retry } }, "Try again"),
  );
}

/** @param {string} text An error's detail. @returns {string} With a capital letter at its start, unless it starts with a field's name. */
function sentence(text) {
  return /^[a-z]+[ ,]/.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
}

/**
 * A table with a caption, which can be sorted by clicking on a column.
 *
 * @param {{caption: string, hideCaption?: boolean, columns: {text: Child, number?: boolean, minor?: boolean}[], rows: Child[][]}} table
 *   The first cell of a row names the row. Columns that are `minor` are hidden on a narrow page.
 * @returns {HTMLElement} The table in a scrollable region.
 */
export function table({ caption, hideCaption = false, columns, rows }) {
  const classOf = (/** @type {{number?: boolean, minor?: boolean}} */ { number, minor }) => [number && "number", minor && "minor"].filter(Boolean).join(" ") || null;
  const body = el(
    "tbody",
    {},
    rows.map((row) =>
      el("tr", {}, row.map((cell, i) => el(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, class: classOf(columns[i]) }, cell))),
    ),
  );
  const given = [...body.children];
  const heads = columns.map((column, i) => {
    const sorts = rows.length > 1 && typeof column.text === "string" && column.text !== "";
    const inside = sorts ? el("button", { type: "button", title: "Sort", on: { click: () => sortBy(i) } }, column.text) : column.text;
    return el("th", { scope: "col", class: classOf(column) }, inside);
  });
  /** @param {number} at Sorts by this column: ascending, then descending, then in the original order. */
  function sortBy(at) {
    const now = heads[at].getAttribute("aria-sort");
    const next = now === null ? "ascending" : now === "ascending" ? "descending" : null;
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    if (next) heads[at].setAttribute("aria-sort", next);
    const text = (/** @type {Element} */ row) => row.children[at].textContent ?? "";
    const sign = next === "descending" ? -1 : 1;
    const sorted = next ? [...given].sort((a, b) => sign * compareCells(text(a), text(b))) : given;
    body.replaceChildren(...sorted);
  }
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", { class: hideCaption ? "unseen" : null }, caption), el("thead", {}, el("tr", {}, heads)), body),
  );
}

/** A number at the start of a cell, with its unit: `84.9M`, `3 EFLOP`, `52.1 %`, `1,000`. An interval after it is ignored. */
const NUMBER = /^[<>]?\s*([+−-]?[\d.,]+(?:e[+-]?\d+)?\s?[A-Za-z%]*)/;

/**
 * Compares two cells: numbers by value and before texts, texts alphabetically.
 *
 * @param {string} a
 * @param {string} b
 * @returns {number}
 */
export function compareCells(a, b) {
  const plain = (/** @type {string} */ text) => text.replace("10⁻⁶", "1e-6").replace("10⁶", "1e6").replace("−", "-");
  const [x, y] = [a, b].map((text) => parseNumber(NUMBER.exec(plain(text))?.[1] ?? ""));
  if (Number.isFinite(x) && Number.isFinite(y)) return x - y;
  if (Number.isFinite(x) !== Number.isFinite(y)) return Number.isFinite(x) ? -1 : 1;
  return a.localeCompare(b, "en", { numeric: true });
}

/**
 * A name that is shortened in its middle if there is no room: the end of a name tells the runs of a sweep apart.
 *
 * @param {string} name
 * @returns {HTMLElement}
 */
export function nameOf(name) {
  if (name.length <= NAME_END) return el("span", {}, name);
  return el("span", { class: "name", title: name }, el("span", { class: "start" }, name.slice(0, -NAME_END)), el("span", { class: "end" }, name.slice(-NAME_END)));
}

/** Number of letters at the end of a name that are always shown. */
const NAME_END = 12;

/**
 * A labelled control.
 *
 * @param {string} label
 * @param {HTMLElement} control Gets an id if it has none.
 * @param {Child} [hint] Shown below the control and describes it.
 * @returns {HTMLElement}
 */
export function field(label, control, hint) {
  control.id ||= `field-${(fieldCount += 1)}`;
  const hintNode = hint ? el("span", { class: "hint", id: `${control.id}-hint` }, hint) : null;
  if (hintNode) control.setAttribute("aria-describedby", hintNode.id);
  return el("div", { class: "field" }, el("label", { for: control.id }, label), control, hintNode);
}

let fieldCount = 0;

/**
 * A modal dialog; resolves with the value of the button that closed it (`""` if it was dismissed).
 *
 * @param {string} title
 * @param {Child[]} body Put into a form; the values of its buttons are the outcomes.
 * @returns {Promise<{outcome: string, data: FormData}>}
 */
export function dialog(title, ...body) {
  return new Promise((resolve) => {
    const form = el("form", { method: "dialog" }, el("h2", { id: "dialog-title" }, title), body);
    const node = el("dialog", { "aria-labelledby": "dialog-title" }, form);
    node.addEventListener("close", () => {
      const data = new FormData(form);
      node.remove();
      resolve({ outcome: node.returnValue, data });
    });
    document.body.append(node);
    node.showModal();
  });
}

/**
 * A field into which a word must be typed before a dialog does something that cannot be undone.
 *
 * @param {string} word
 * @param {string} label
 * @returns {HTMLElement}
 */
export function typed(word, label) {
  const input = el("input", { name: "typed", required: true, autocomplete: "off", spellcheck: "false", autofocus: true });
  const check = () => input.setCustomValidity(input.value.trim() === word ? "" : `Type ${word} to confirm.`);
  input.addEventListener("input", check);
  check();
  return field(label, input);
}

/**
 * The buttons of a dialog.
 *
 * @param {string} yes Text of the button whose outcome is `yes`.
 * @param {boolean} [dangerous] Whether the action cannot be undone.
 * @returns {HTMLElement}
 */
export function dialogButtons(yes, dangerous = false) {
  return el(
    "p",
    { class: "buttons" },
    el("button", { type: "submit", value: "yes", class: dangerous ? "danger" : "primary" }, yes),
    el("button", { type: "submit", value: "", formnovalidate: true }, "Cancel"),
  );
}

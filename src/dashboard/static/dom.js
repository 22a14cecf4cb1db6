/**
 * Elements out of data. Text becomes text nodes and never markup: names of runs come from people.
 *
 * @module dom
 */

/** @typedef {Node | string | number | null | undefined | false | readonly any[]} Child Lists hold children, and lists. */

/**
 * A new element.
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
 * Puts children in place of what an element holds.
 *
 * @param {Element} node
 * @param {...Child} children
 */
export function fill(node, ...children) {
  node.replaceChildren();
  append(node, children);
}

/**
 * Says something to screen readers.
 *
 * @param {string} text
 */
export function announce(text) {
  const announcer = document.getElementById("announcer");
  if (announcer) announcer.textContent = text;
}

/** @param {string} text @returns {HTMLElement} What stands where something is on its way. */
export function loading(text = "Loading…") {
  return el("p", { class: "state", "aria-busy": "true" }, text);
}

/** @param {...Child} children @returns {HTMLElement} What stands where there is nothing. */
export function empty(...children) {
  return el("p", { class: "state" }, children);
}

/**
 * What stands where something failed.
 *
 * @param {unknown} error
 * @param {() => void} [retry] Shown as a button where given.
 * @returns {HTMLElement}
 */
export function failure(error, retry) {
  const problem = /** @type {any} */ (error);
  // One error is often the whole of the detail.
  const errors = (problem.errors ?? []).filter((/** @type {any} */ error, /** @type {number} */ _, /** @type {any[]} */ all) => all.length > 1 || !problem.detail?.includes(error.detail));
  return el(
    "div",
    { class: "failure", role: "alert" },
    el("strong", {}, problem.title ?? "Something went wrong"),
    el("p", {}, problem.detail ?? problem.message ?? String(error)),
    errors.length > 0 &&
      el("ul", {}, errors.map((/** @type {any} */ e) => el("li", {}, el("code", {}, e.pointer.replace(/^\//, "")), " ", e.detail))),
    (problem.suggestions ?? []).length > 0 && [
      el("p", {}, "Runs that settle it:"),
      el("ul", {}, problem.suggestions.map((/** @type {any} */ run) => el("li", {}, `${run.nonzero_params.toPrecision(3)} non-zero parameters, sparsity ${run.sparsity.toPrecision(3)}, data ${run.data.toPrecision(3)}`))),
    ],
    retry && el("button", { type: "button", on: { click: retry } }, "Try again"),
  );
}

/**
 * A table with a caption.
 *
 * @param {{caption: string, hideCaption?: boolean, columns: {text: Child, number?: boolean}[], rows: Child[][]}} table
 *   The first cell of a row names it.
 * @returns {HTMLElement} The table in a region that scrolls.
 */
export function table({ caption, hideCaption = false, columns, rows }) {
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", { class: hideCaption ? "unseen" : null }, caption),
      el("thead", {}, el("tr", {}, columns.map((c) => el("th", { scope: "col", class: c.number ? "number" : null }, c.text)))),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el("tr", {}, row.map((cell, i) => el(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, class: columns[i].number ? "number" : null }, cell))),
        ),
      ),
    ),
  );
}

/**
 * A labelled control.
 *
 * @param {string} label
 * @param {HTMLElement} control Gets an id where it has none.
 * @param {Child} [hint] Stands below and describes the control.
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
 * A modal dialog; resolves with what closed it (`""` where it was dismissed).
 *
 * @param {string} title
 * @param {Child[]} body Within a form; the buttons' values are the outcomes.
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
 * The buttons of a dialog.
 *
 * @param {string} yes Text of the button whose outcome is `yes`.
 * @returns {HTMLElement}
 */
export function dialogButtons(yes) {
  return el(
    "p",
    { class: "buttons" },
    el("button", { type: "submit", value: "yes", class: "primary" }, yes),
    el("button", { type: "submit", value: "", formnovalidate: true }, "Cancel"),
  );
}

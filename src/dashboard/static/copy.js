/**
 * Shows how to ask the same question elsewhere: with curl, or from Python.
 *
 * @module copy
 */

import { hasKey } from "./api.js";
import { announce, el } from "./dom.js";

/**
 * @typedef {object} Asked
 * @property {"GET" | "POST"} method
 * @property {string} path Path below the service's address.
 * @property {Record<string, any>} [query] Query parameters; null and undefined are left out.
 * @property {Record<string, any>} [body]
 * @property {Record<string, any>} [named] Parts of the path that are arguments of the client's method.
 * @property {string} family
 * @property {string} call The client's method, such as `optimal_sparsity`.
 */

/** @param {Record<string, any> | undefined} values @returns {[string, any][]} */
const given = (values) => Object.entries(values ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "");

/** @param {string} text @returns {string} Quoted as one word of a shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * @param {Asked} asked
 * @param {string} base Address of the service, without a trailing slash.
 * @param {boolean} withKey Whether it requires a key, which is taken from the environment and not written here.
 * @returns {string}
 */
export function asCurl({ method, path, query, body }, base, withKey) {
  const search = new URLSearchParams(given(query).map(([name, value]) => [name, String(value)])).toString();
  return [
    "curl -sS --fail-with-body",
    withKey && '-H "Authorization: Bearer $SPARSITY_PLANNER_KEY"',
    method !== "GET" && "-H 'Content-Type: application/json'",
    method !== "GET" && `-d ${quoted(JSON.stringify(Object.fromEntries(given(body))))}`,
    quoted(`${base}${path}${search ? `?${search}` : ""}`),
  ].filter(Boolean).join(" \\\n  ");
}

/** @param {any} value @returns {string} As a Python literal. */
function python(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${given(value).map(([key, entry]) => `${JSON.stringify(key)}: ${python(entry)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/**
 * @param {Asked} asked
 * @param {string} base
 * @param {boolean} withKey
 * @returns {string}
 */
export function asPython({ query, body, named, family, call }, base, withKey) {
  const values = given({ ...named, ...query, ...body }).map(([name, value]) => `${name}=${python(value)}`);
  const lines = values.join(", ").length > 60 ? `\n    ${values.join(",\n    ")},\n` : values.join(", ");
  const key = withKey ? "# The key is taken from SPARSITY_PLANNER_KEY.\n" : "";
  return `from sparsity_planner import Planner\n\n${key}family = Planner(${JSON.stringify(base)}).family(${JSON.stringify(family)})\nprint(family.${call}(${lines}))`;
}

/**
 * Buttons that copy a question.
 *
 * @param {Asked} asked
 * @param {string} [what] Name of the question, if more than one is answered there.
 * @returns {HTMLElement}
 */
export function copyButtons(asked, what = "") {
  const base = document.baseURI.replace(/[?#].*$/, "").replace(/\/$/, "");
  return el("p", { class: "buttons copy" }, el("span", {}, `Copy ${what}${what && " "}as`), copyButton("curl", () => asCurl(asked, base, hasKey())), copyButton("Python", () => asPython(asked, base, hasKey())));
}

/** How long a button shows that it has copied. */
const SAID_MS = 2000;

/** @param {string} name @param {() => string} text @returns {HTMLElement} */
export function copyButton(name, text) {
  const button = el("button", { type: "button", class: "quiet", "aria-label": `Copy as ${name}` }, name);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "copied";
      announce(`Copied as ${name}.`);
    } catch {
      // On another host without TLS there is no clipboard, so the text is shown instead.
      button.closest(".copy")?.after(el("pre", { class: "copied", tabindex: "0" }, text()));
      button.disabled = true;
    }
    setTimeout(() => { button.textContent = name; }, SAID_MS);
  });
  return button;
}

/** @param {any} value @returns {string} As a cell of a CSV table. */
function cell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** @param {string[]} columns @param {any[][]} rows @returns {string} A CSV table. */
export function asCsv(columns, rows) {
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\n");
}

/**
 * A file as a table of text, whatever it came as: CSV, JSON or NDJSON.
 *
 * @module tablefile
 */

import { parseCsv } from "./csv.js";

/**
 * @typedef {object} Table
 * @property {string[]} columns
 * @property {unknown[][]} rows Values by column; undefined where a row has none.
 */

/**
 * Reads a file.
 *
 * @param {string} name Its ending tells the kind, else its first character.
 * @param {string} text
 * @returns {Table}
 * @throws {SyntaxError} Where it cannot be read, saying why.
 */
export function readTable(name, text) {
  const start = text.trimStart()[0];
  const isCsv = /\.(csv|tsv|txt)$/i.test(name) || (start !== "[" && start !== "{");
  const table = isCsv ? fromCsv(text) : fromObjects(readObjects(text));
  if (table.rows.length === 0) throw new SyntaxError("there is no row in it");
  return table;
}

/** @param {string} text @returns {Table} */
function fromCsv(text) {
  const [columns, ...rows] = parseCsv(text);
  if (!columns) throw new SyntaxError("it is empty");
  const twice = columns.find((column, i) => columns.indexOf(column) !== i);
  if (twice !== undefined) throw new SyntaxError(`two columns are called "${twice}"`);
  const long = rows.findIndex((row) => row.length !== columns.length);
  if (long >= 0) throw new SyntaxError(`row ${long + 1} has ${rows[long].length} fields, and the header ${columns.length}`);
  return { columns, rows };
}

/** @param {string} text @returns {unknown[]} */
function readObjects(text) {
  try {
    const value = JSON.parse(text);
    return Array.isArray(value) ? value : [value];
  } catch (whole) {
    const lines = text.split("\n").map((line, i) => /** @type {[string, number]} */ ([line.trim(), i + 1])).filter(([line]) => line !== "");
    if (text.trimStart().startsWith("[") || lines.length < 2) throw whole;
    return lines.map(([line, number]) => {
      try {
        return JSON.parse(line);
      } catch (error) {
        throw new SyntaxError(`line ${number}: ${/** @type {Error} */ (error).message}`);
      }
    });
  }
}

/** @param {unknown[]} objects @returns {Table} */
function fromObjects(objects) {
  const flat = objects.map((object, i) => {
    if (typeof object !== "object" || object === null || Array.isArray(object)) throw new SyntaxError(`entry ${i + 1} is no object`);
    return flatten(/** @type {Record<string, unknown>} */ (object), "", new Map());
  });
  const columns = [...new Set(flat.flatMap((entry) => [...entry.keys()]))];
  return { columns, rows: flat.map((entry) => columns.map((column) => entry.get(column))) };
}

/**
 * @param {Record<string, unknown>} object
 * @param {string} prefix
 * @param {Map<string, unknown>} into Values by their path, its parts joined by points.
 * @returns {Map<string, unknown>}
 */
function flatten(object, prefix, into) {
  for (const [key, value] of Object.entries(object)) {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) flatten(/** @type {Record<string, unknown>} */ (value), `${prefix}${key}.`, into);
    else if (value !== null && value !== undefined) into.set(prefix + key, Array.isArray(value) ? JSON.stringify(value) : value);
  }
  return into;
}

/**
 * From columns of a table to runs as the API takes them, with what is wrong by row and field.
 *
 * The ranges are those of the API's document. The service checks all of it again.
 *
 * @module mapping
 */

import { formatNumber, parseNumber } from "./numbers.js";

/**
 * @typedef {object} Field
 * @property {string} name As in the API.
 * @property {string} label
 * @property {boolean} number
 * @property {string[]} guesses Names of columns, as `simple` writes them, the likeliest first.
 */

/** @type {Field[]} */
export const FIELDS = [
  { name: "external_id", label: "Name of the run", number: false, guesses: ["externalid", "runid", "runname", "id", "name", "run", "displayname"] },
  { name: "size", label: "Parameters", number: true, guesses: ["nonzeroparams", "nonzeroparameters", "nnz", "nonzero", "totalparams", "numparams", "nparams", "parameters", "params", "modelsize", "scale", "n"] },
  { name: "sparsity", label: "Sparsity", number: true, guesses: ["sparsity", "finalsparsity", "targetsparsity", "sparsitypercent", "sparsitypct", "density", "s"] },
  { name: "data", label: "Data", number: true, guesses: ["data", "tokens", "trainingtokens", "numtokens", "tokensseen", "totaltokens", "totalexamples", "examples", "samples", "steps", "trainsteps", "step", "d"] },
  { name: "loss", label: "Validation loss", number: true, guesses: ["loss", "valloss", "validationloss", "evalloss", "finalloss", "testloss", "l"] },
  { name: "start", label: "Start", number: false, guesses: ["start", "initialisation", "initialization", "init"] },
  { name: "pretraining_data", label: "Pretraining data", number: true, guesses: ["pretrainingdata", "pretrainingtokens"] },
  { name: "pattern", label: "Pattern", number: false, guesses: ["pattern", "sparsitypattern", "nm"] },
];

/**
 * @typedef {object} Mapping What becomes of the columns.
 * @property {Record<string, string | null>} columns By field; null where it has none.
 * @property {"nonzero_params" | "total_params"} size What the column of parameters counts.
 * @property {"fraction" | "percent" | "density"} sparsity How the column says it.
 * @property {Record<string, number>} factors What numbers of a field are multiplied with.
 * @property {string[]} tags Columns that are kept as labels.
 * @property {string} prefix Of names, where no column has them: the row's number follows.
 */

/** @param {string} column @returns {string} Without what tools put before it, and without punctuation. */
function simple(column) {
  return column.replace(/^(config|summary|metrics|params|hparams|tags)[./]/i, "").toLowerCase().replace(/[^a-z0-9]/g, "");
}

/**
 * A first idea of what the columns are.
 *
 * @param {import("./tablefile.js").Table} table
 * @param {string} file Name of the file.
 * @returns {Mapping}
 */
export function guessMapping(table, file) {
  const free = new Map(table.columns.map((column) => [column, simple(column)]));
  /** @type {Record<string, string | null>} */
  const columns = {};
  for (const field of FIELDS) {
    const found = field.guesses.map((guess) => [...free].find(([, name]) => name === guess)?.[0]).find((column) => column !== undefined);
    columns[field.name] = found ?? null;
    if (found !== undefined) free.delete(found);
  }
  const sizeName = simple(columns.size ?? "");
  const sparsityColumn = columns.sparsity ?? "";
  const values = columns.sparsity === null ? [] : table.rows.map((row) => number(row[table.columns.indexOf(sparsityColumn)]));
  const percent = /percent|pct|%/i.test(sparsityColumn) || values.some((value) => value > 1);
  return {
    columns,
    size: sizeName.startsWith("nonzero") || sizeName === "nnz" || sizeName === "n" ? "nonzero_params" : "total_params",
    sparsity: simple(sparsityColumn) === "density" ? "density" : percent ? "percent" : "fraction",
    factors: {},
    tags: [...free.keys()].filter((column) => /^tags[./]/i.test(column)),
    prefix: file.replace(/\.[a-z]+$/i, ""),
  };
}

/** @param {unknown} value @returns {number} NaN where it is none. */
function number(value) {
  return typeof value === "number" ? value : parseNumber(String(value ?? ""));
}

/** @typedef {{row: number, field: string, detail: string}} RowError `row` counts from 1, without the header. */

/**
 * The runs of a table.
 *
 * @param {import("./tablefile.js").Table} table
 * @param {Mapping} mapping
 * @returns {{runs: {row: number, run: any}[], errors: RowError[], rows: any[]}} `runs` are those without an
 *   error; `rows` every row as it was understood.
 */
export function mapRows(table, mapping) {
  /** @type {RowError[]} */
  const errors = [];
  const runs = [];
  const rows = [];
  /** @type {Map<string, number>} */
  const seen = new Map();
  const place = new Map(table.columns.map((column, i) => [column, i]));
  for (let i = 0; i < table.rows.length; i += 1) {
    const before = errors.length;
    const run = mapRow(table.rows[i], place, mapping, i + 1, errors);
    const first = seen.get(run.external_id);
    if (first !== undefined) errors.push({ row: i + 1, field: "external_id", detail: `is that of row ${first} too` });
    else if (run.external_id !== undefined) seen.set(run.external_id, i + 1);
    rows.push(run);
    if (errors.length === before) runs.push({ row: i + 1, run });
  }
  return { runs, errors, rows };
}

const LABEL_LIMIT = 200;
const MOST_TAGS = 50;

/**
 * @param {unknown[]} row
 * @param {Map<string, number>} place
 * @param {Mapping} mapping
 * @param {number} at
 * @param {RowError[]} errors
 * @returns {any}
 */
function mapRow(row, place, mapping, at, errors) {
  /** @type {any} */
  const run = {};
  const refuse = (/** @type {string} */ field, /** @type {string} */ detail) => errors.push({ row: at, field, detail });
  const raw = (/** @type {string} */ field) => {
    const column = mapping.columns[field];
    return column === null || column === undefined ? undefined : row[place.get(column) ?? -1];
  };
  const text = (/** @type {string} */ field) => {
    const value = raw(field);
    return value === undefined || value === null ? "" : String(value).trim();
  };
  const read = (/** @type {string} */ field, /** @type {string} */ name, /** @type {(v: number) => number} */ convert, /** @type {(v: number) => string} */ wrong) => {
    if (text(field) === "") {
      refuse(name, mapping.columns[field] ? "is empty" : "no column is chosen for it");
      return;
    }
    const given = number(raw(field));
    if (Number.isNaN(given)) return refuse(name, `is no number: ${text(field)}`);
    const value = convert(given * (mapping.factors[field] ?? 1));
    run[name] = value;
    const detail = wrong(value);
    if (detail) refuse(name, detail);
  };
  const same = (/** @type {number} */ value) => value;
  const between = (/** @type {number} */ min, /** @type {number} */ max) => (/** @type {number} */ value) =>
    value >= min && value <= max ? "" : `must be between ${formatNumber(min)} and ${formatNumber(max)}, not ${formatNumber(value, 6)}`;

  run.external_id = mapping.columns.external_id ? text("external_id") : `${mapping.prefix}-${at}`;
  const label = labelError(run.external_id);
  if (label) refuse("external_id", label);
  const toSparsity = { fraction: same, percent: (/** @type {number} */ v) => rounded(v / 100), density: (/** @type {number} */ v) => rounded(1 - v) }[mapping.sparsity];
  read("sparsity", "sparsity", toSparsity, (v) => (v >= 0 && v < 1 ? "" : `must be at least 0 and below 1, not ${v}`));
  read("size", mapping.size, same, (v) => {
    if (mapping.size === "nonzero_params") return between(1, 1e18)(v);
    // Where the sparsity is wrong that is told, and the size is not known.
    const known = run.sparsity >= 0 && run.sparsity < 1;
    return known ? between(1, 1e18)(v * (1 - run.sparsity)).replace("must", "times the density must") : "";
  });
  read("data", "data", same, between(1e-6, 1e30));
  read("loss", "loss", same, between(1e-12, 1e12));
  const start = text("start").toLowerCase();
  if (start === "scratch" || start === "pretrained") run.start = start;
  else if (start !== "") refuse("start", `must be scratch or pretrained, not ${start}`);
  if (text("pretraining_data") !== "") {
    if (run.start === "pretrained") read("pretraining_data", "pretraining_data", same, between(1e-6, 1e30));
    else refuse("pretraining_data", "belongs to a run whose start is pretrained");
  }
  const pattern = text("pattern");
  if (pattern !== "" && !/^(none|unstructured|dense)$/i.test(pattern)) {
    const parts = /^([1-9]\d{0,3}):([1-9]\d{0,3})$/.exec(pattern);
    if (parts && Number(parts[1]) < Number(parts[2]) && Number(parts[2]) <= 1024) run.pattern = pattern;
    else refuse("pattern", `must be n:m with n below m, not ${pattern}`);
  }
  mapTags(row, place, mapping, run, refuse);
  return run;
}

/**
 * @param {unknown[]} row
 * @param {Map<string, number>} place
 * @param {Mapping} mapping
 * @param {any} run
 * @param {(field: string, detail: string) => void} refuse
 */
function mapTags(row, place, mapping, run, refuse) {
  const tags = mapping.tags.map((column) => [column.replace(/^tags[./]/i, ""), row[place.get(column) ?? -1]]).filter(([, value]) => value !== undefined && value !== "");
  if (tags.length > MOST_TAGS) refuse("tags", `must be at most ${MOST_TAGS}, not ${tags.length}`);
  for (const [key, value] of tags) {
    const error = labelError(String(key)) || labelError(String(value));
    if (error) refuse("tags", `${key} ${error}`);
  }
  if (tags.length > 0) run.tags = Object.fromEntries(tags.map(([key, value]) => [key, String(value)]));
}

/** @param {string} text @returns {string} What is wrong with it. */
function labelError(text) {
  if (text === "") return "is empty";
  if ([...text].length > LABEL_LIMIT) return `must have at most ${LABEL_LIMIT} characters`;
  // eslint-disable-next-line no-control-regex
  return /[\u0000-\u001f\u007f-\u009f]/.test(text) ? "must have no control characters" : "";
}

/** @param {number} value @returns {number} Without the noise of a conversion: 1 - 0.1 is 0.9. */
function rounded(value) {
  return Number(value.toPrecision(12));
}

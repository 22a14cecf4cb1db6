/**
 * Upload: a file, what its columns are, what is wrong with its rows, and only then the request.
 *
 * @module views/upload
 */

import { change, familyPath, Problem } from "../api.js";
import { announce, el, failure, field, fill, table as tableOf } from "../dom.js";
import { FIELDS, guessMapping, mapRows } from "../mapping.js";
import { formatCount, formatLevel, formatLoss, parseNumber, plural } from "../numbers.js";
import { readTable } from "../tablefile.js";
import { address } from "../url.js";

const MOST_FILE_BYTES = 200e6;
/** Bytes of one request; well below the service's default limit. */
const BATCH_BYTES = 8e6;
const PREVIEW = 8;
const MOST_ERRORS = 100;

/** @param {HTMLElement} main @param {import("./family.js").Context} context */
export function showUpload(main, context) {
  const { name, family, signal } = context;
  const status = el("div", {});
  const work = el("div", {});
  const input = el("input", { type: "file", id: "file", accept: ".csv,.tsv,.txt,.json,.ndjson,.jsonl", "aria-describedby": "file-hint" });
  const drop = el(
    "div",
    { class: "drop" },
    el("p", {}, el("label", { for: "file" }, el("strong", {}, "Drop a file of finished training runs here, or choose one")), " "),
    input,
    el("p", { class: "hint", id: "file-hint" }, "CSV with a header, JSON or NDJSON. Nothing is written before you have seen what would be."),
  );
  fill(main, el("section", { class: "panel", "aria-labelledby": "upload" }, el("h2", { id: "upload" }, "Upload runs"), drop, status), work);

  const over = (/** @type {boolean} */ is) => drop.classList.toggle("over", is);
  drop.addEventListener("dragover", (/** @type {DragEvent} */ event) => { event.preventDefault(); over(true); });
  drop.addEventListener("dragleave", () => over(false));
  drop.addEventListener("drop", (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    over(false);
    const file = event.dataTransfer?.files[0];
    if (file) open(file);
  });
  input.addEventListener("change", () => input.files[0] && open(input.files[0]));

  /** @param {File} file */
  async function open(file) {
    fill(work);
    if (file.size > MOST_FILE_BYTES) {
      fill(status, failure({ title: "The file is too large for a browser", detail: `Up to ${MOST_FILE_BYTES / 1e6} MB are read here; the command import takes larger ones.` }));
      return;
    }
    fill(status, el("p", { class: "state" }, `Reading ${file.name}…`));
    try {
      const table = readTable(file.name, await file.text());
      fill(status, el("p", {}, `${file.name}: ${plural(table.rows.length, "row")}, ${plural(table.columns.length, "column")}.`));
      preview(table, guessMapping(table, file.name));
    } catch (error) {
      fill(status, failure({ title: `${file.name} cannot be read`, detail: /** @type {Error} */ (error).message }));
    }
  }

  /** @param {import("../tablefile.js").Table} table @param {import("../mapping.js").Mapping} mapping */
  function preview(table, mapping) {
    const findings = el("div", {});
    const update = () => showFindings(findings, table, mapping);
    fill(
      work,
      el("section", { class: "panel", "aria-labelledby": "columns" }, el("h2", { id: "columns" }, "What the columns are"), mappingForm(table, mapping, update)),
      findings,
    );
    update();
  }

  /** @param {import("../tablefile.js").Table} table @param {import("../mapping.js").Mapping} mapping @param {() => void} update */
  function mappingForm(table, mapping, update) {
    /** @param {any} field */
    const one = ({ name: key, label, number }) => {
      const optional = ["start", "pretraining_data", "pattern"].includes(key);
      const none = key === "external_id" ? "(number the rows)" : "(none)";
      const select = el("select", { name: key, "aria-required": optional || key === "external_id" ? null : "true" }, el("option", { value: "" }, none), table.columns.map((column) => el("option", { value: column, selected: mapping.columns[key] === column }, column)));
      select.addEventListener("change", () => { mapping.columns[key] = select.value || null; update(); });
      const text = key === "data" ? `${label} in ${family.data_unit}` : label;
      if (!number || key === "sparsity") return field(text, select, key === "external_id" ? "Sent again under the same name it is the same run" : "");
      const factor = el("input", { name: `${key}-factor`, value: "1", "aria-label": `Times, for ${label}`, autocomplete: "off" });
      factor.addEventListener("input", () => {
        const value = parseNumber(factor.value);
        factor.setAttribute("aria-invalid", String(!(value > 0)));
        if (value > 0) mapping.factors[key] = value;
        update();
      });
      return el("div", { class: "pair" }, field(text, select), field("times", factor));
    };
    const choice = (/** @type {string} */ label, /** @type {"size" | "sparsity"} */ key, /** @type {[string, string][]} */ options) => {
      const select = el("select", { name: `${key}-kind` }, options.map(([value, text]) => el("option", { value, selected: mapping[key] === value }, text)));
      select.addEventListener("change", () => { /** @type {any} */ (mapping)[key] = select.value; update(); });
      return field(label, select);
    };
    const rest = table.columns.filter((column) => !Object.values(mapping.columns).includes(column));
    const tags = rest.map((column) => {
      const box = el("input", { type: "checkbox", checked: mapping.tags.includes(column) });
      box.addEventListener("change", () => {
        mapping.tags = box.checked ? [...mapping.tags, column] : mapping.tags.filter((other) => other !== column);
        update();
      });
      return el("label", { class: "check" }, box, column);
    });
    return el(
      "form",
      { on: { submit: (/** @type {Event} */ event) => event.preventDefault() } },
      el(
        "div",
        { class: "mapping" },
        FIELDS.slice(0, 2).map(one),
        choice("Parameters count", "size", [["nonzero_params", "non-zero parameters"], ["total_params", "all, zeros included"]]),
        one(FIELDS[2]),
        choice("Sparsity is", "sparsity", [["fraction", "a fraction of zeros: 0.75"], ["percent", "percent of zeros: 75"], ["density", "a fraction that is kept: 0.25"]]),
        FIELDS.slice(3).map(one),
      ),
      tags.length > 0 && el("fieldset", {}, el("legend", {}, "Columns to keep as tags"), el("div", { class: "buttons" }, tags)),
    );
  }

  /** @param {HTMLElement} node @param {import("../tablefile.js").Table} table @param {import("../mapping.js").Mapping} mapping */
  function showFindings(node, table, mapping) {
    const { runs, errors, rows } = mapRows(table, mapping);
    const wrong = new Set(errors.map((error) => error.row));
    const skip = el("input", { type: "checkbox" });
    const send = el("button", { type: "button", class: "primary" });
    const arm = () => {
      send.disabled = runs.length === 0 || (wrong.size > 0 && !skip.checked);
      send.textContent = `Upload ${plural(runs.length, "run")} to ${name}`;
    };
    skip.addEventListener("change", arm);
    const outcome = el("div", {});
    send.addEventListener("click", () => upload(runs, send, outcome));
    arm();
    fill(
      node,
      el(
        "section",
        { class: "panel", "aria-labelledby": "preview" },
        el("h2", { id: "preview" }, "What would be written"),
        tableOf({
          caption: `The first ${plural(Math.min(PREVIEW, rows.length), "row")} of ${rows.length.toLocaleString("en")}`,
          columns: [{ text: "Run" }, { text: mapping.size === "nonzero_params" ? "Non-zero" : "Total", number: true }, { text: "Sparsity", number: true }, { text: family.data_unit, number: true }, { text: "Loss", number: true }, { text: "Kind" }, { text: "Tags" }],
          rows: rows.slice(0, PREVIEW).map((run) => [run.external_id, shown(run[mapping.size], formatCount), shown(run.sparsity, formatLevel), shown(run.data, formatCount), shown(run.loss, (v) => formatLoss(v, 5)), [run.pattern ?? "unstructured", run.start === "pretrained" && ", pretrained"], Object.entries(run.tags ?? {}).map(([key, value]) => `${key}=${value}`).join(" ")]),
        }),
        el("p", { role: "status" }, errors.length === 0 ? `All ${plural(rows.length, "row")} can be written.` : `${plural(wrong.size, "row")} of ${rows.length.toLocaleString("en")} cannot be written:`),
        errors.length > 0 &&
          el(
            "div",
            { "data-errors": errors.length },
            tableOf({
              caption: errors.length > MOST_ERRORS ? `The first ${MOST_ERRORS} of ${errors.length.toLocaleString("en")} errors` : "Errors by row and field",
              columns: [{ text: "Row" }, { text: "Field" }, { text: "What is wrong" }],
              rows: errors.slice(0, MOST_ERRORS).map((error) => [error.row, el("code", {}, error.field), error.detail]),
            }),
            runs.length > 0 && el("p", {}, el("label", { class: "check" }, skip, "Leave these rows out and upload the others")),
          ),
        el("p", { class: "buttons" }, send),
        outcome,
      ),
    );
    announce(errors.length === 0 ? `${plural(rows.length, "row")} can be written` : `${plural(wrong.size, "row")} cannot be written`);
  }

  /**
   * Sends the runs in as many requests as their size asks for.
   *
   * @param {{row: number, run: any}[]} runs
   * @param {HTMLButtonElement} send
   * @param {HTMLElement} outcome
   */
  async function upload(runs, send, outcome) {
    send.disabled = true;
    const batches = inBatches(runs, BATCH_BYTES);
    const total = { created: 0, updated: 0, unchanged: 0, sent: 0 };
    const told = () => `${total.created.toLocaleString("en")} new, ${total.updated.toLocaleString("en")} updated, ${total.unchanged.toLocaleString("en")} unchanged`;
    try {
      while (batches.length > 0) {
        fill(outcome, el("p", { class: "state" }, `Sending: ${total.sent.toLocaleString("en")} of ${runs.length.toLocaleString("en")} runs written…${batches.length > 1 ? ` They go in ${batches.length} more requests, each written whole or not at all.` : ""}`));
        const batch = batches[0];
        try {
          const result = await change("POST", familyPath(name, "/runs"), batch.map(({ run }) => run), signal);
          total.created += result.created;
          total.updated += result.updated;
          total.unchanged += result.unchanged;
          total.sent += batch.length;
          batches.shift();
        } catch (error) {
          // This service's limit is lower than the default: smaller requests will do.
          if (!(error instanceof Problem) || error.status !== 413 || batch.length === 1) throw error;
          batches.splice(0, 1, batch.slice(0, batch.length / 2), batch.slice(batch.length / 2));
        }
      }
      const said = `Written: ${told()}.`;
      fill(outcome, el("p", { class: "success" }, said, " ", el("a", { href: address({ view: "laws" }) }, "Refit"), " to have the law heed them, or ", el("a", { href: address({ view: "runs" }) }, "see the runs"), "."));
      announce(said);
    } catch (error) {
      if (signal.aborted) return;
      const rows = batches[0].map(({ row }) => row);
      fill(outcome, failure(byRow(error, rows)), el("p", {}, total.sent === 0 ? "Nothing was written." : `${total.sent.toLocaleString("en")} of ${runs.length.toLocaleString("en")} runs were written before that (${told()}), and none of this request's. Sending all again is safe.`));
      send.disabled = false;
    }
  }
}

/** @param {number | undefined} value @param {(v: number) => string} format @returns {any} */
function shown(value, format) {
  return value === undefined ? el("span", { class: "bad" }, "?") : format(value);
}

/**
 * @param {{row: number, run: any}[]} runs
 * @param {number} bytes
 * @returns {{row: number, run: any}[][]}
 */
export function inBatches(runs, bytes) {
  /** @type {{row: number, run: any}[][]} */
  const batches = [];
  let left = 0;
  for (const entry of runs) {
    // A character may take three bytes.
    const size = 3 * JSON.stringify(entry.run).length + 1;
    if (batches.length === 0 || size > left) {
      batches.push([]);
      left = bytes;
    }
    batches[batches.length - 1].push(entry);
    left -= size;
  }
  return batches;
}

/**
 * The service's errors name places in the request: rows of the file are more use.
 *
 * @param {any} error
 * @param {number[]} rows The file's rows by their place in the request.
 * @returns {any}
 */
function byRow(error, rows) {
  if (!(error instanceof Problem)) return error;
  const errors = error.errors.slice(0, MOST_ERRORS).map(({ pointer, detail }) => {
    const place = /^\/(\d+)\/?(.*)$/.exec(pointer);
    return place ? { pointer: `row ${rows[Number(place[1])]} ${place[2]}`, detail } : { pointer, detail };
  });
  return { title: error.title, detail: error.detail, errors };
}

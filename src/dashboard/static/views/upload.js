/**
 * Upload: a file, how the service understands it, and only then the request that stores it.
 *
 * The page does not read the file. It asks the service what it would store (`dry_run`) with the present options and
 * shows the answer; what is then stored are the same bytes with the same options.
 *
 * @module views/upload
 */

import { familyPath, Problem, sendFile } from "../api.js";
import { announce, el, failure, field, fill, loading, table } from "../dom.js";
import { settled } from "../inputs.js";
import { formatCount, formatLevel, formatLoss, formatWhole, plural } from "../numbers.js";
import { address } from "../url.js";

/** How long typing must pause before the service is asked. */
const SETTLED_MS = 350;
const MOST_ERRORS = 100;

/** @type {[string, string][]} Media types and what people call them. */
const FORMATS = [
  ["text/csv", "CSV"],
  ["application/x-ndjson", "NDJSON"],
  ["application/json", "JSON"],
  ["application/vnd.apache.parquet", "Parquet"],
  ["application/vnd.apache.arrow.stream", "Arrow"],
  ["application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "Excel workbook"],
  ["application/zip", "zip archive"],
];

/** @type {Record<string, string>} Media types by file extension. */
const ENDINGS = {
  csv: "text/csv",
  tsv: "text/csv",
  txt: "text/csv",
  ndjson: "application/x-ndjson",
  jsonl: "application/x-ndjson",
  json: "application/json",
  parquet: "application/vnd.apache.parquet",
  arrow: "application/vnd.apache.arrow.stream",
  feather: "application/vnd.apache.arrow.stream",
  xlsx: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
  zip: "application/zip",
};

/** @type {Record<string, string>} */
const CODINGS = { gz: "gzip", zst: "zstd", xz: "xz", bz2: "bzip2" };

/**
 * What a file's name says about its content.
 *
 * @param {string} name
 * @returns {{format: string | null, coding: string | null}} Null where it says nothing.
 */
export function contentByName(name) {
  const endings = name.toLowerCase().split(".").slice(1);
  const coding = CODINGS[endings.at(-1) ?? ""] ?? null;
  if (coding) endings.pop();
  return { format: ENDINGS[endings.at(-1) ?? ""] ?? null, coding };
}

/** @type {[string, string][]} Fields of a run, by their names in the API. */
const FIELDS = [
  ["external_id", "Name of the run"],
  ["nonzero_params", "Non-zero parameters"],
  ["total_params", "All parameters"],
  ["sparsity", "Sparsity"],
  ["data", "Data"],
  ["loss", "Validation loss"],
  ["start", "Start"],
  ["pretraining_data", "Pretraining data"],
  ["unique_data", "Different data"],
  ["pattern", "Pattern"],
  ["tags", "Tags"],
  ["exclusion_reason", "Reason to exclude"],
];

/** @type {Record<string, string>} Separators of cells, in words. */
const SEPARATORS = { ",": "commas", ";": "semicolons", tab: "tabs", "|": "bars" };

/**
 * @typedef {object} Option A control, with a place beside it for the service's remarks on it.
 * @property {HTMLElement} node
 * @property {any} control
 * @property {(text: string, bad?: boolean) => void} say Shows a remark; an empty text shows the hint again.
 */

/**
 * @param {string} label
 * @param {any} control
 * @param {string} hint
 * @returns {Option}
 */
function option(label, control, hint) {
  const node = field(label, control, hint || " ");
  const below = /** @type {HTMLElement} */ (node.querySelector(".hint"));
  return {
    node,
    control,
    say(text, bad = false) {
      below.textContent = text || hint;
      below.classList.toggle("bad", bad);
      if (bad) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    },
  };
}

/** @param {string} label @param {string} name @param {string} hint @param {string} [placeholder] @returns {Option} */
function textOption(label, name, hint, placeholder) {
  return option(label, el("input", { name, placeholder, autocomplete: "off", autocapitalize: "off", spellcheck: "false" }), hint);
}

/** @param {string} label @param {string} name @param {[string, string][]} choices @param {string} [hint] @returns {Option} */
function choiceOption(label, name, choices, hint = "") {
  return option(label, el("select", { name }, choices.map(([value, text]) => el("option", { value }, text))), hint);
}

/**
 * The options of an upload.
 *
 * @param {any} family
 * @param {() => void} changed Called after every change.
 */
function optionsForm(family, changed) {
  const format = choiceOption("Format", "format", FORMATS);
  /** @type {Record<string, Option>} By the name of the query parameter. */
  const options = {
    source: choiceOption("Written by", "source", [["", "anything else"], ["wandb", "Weights & Biases"], ["mlflow", "MLflow"]]),
    sparsity_unit: choiceOption("Sparsity is", "sparsity_unit", [["", "a fraction: 0.75"], ["percent", "percent: 75"]]),
    separator: choiceOption("Separator", "separator", [["", "found in the header"], ...Object.entries(SEPARATORS)]),
    decimal: choiceOption("Decimal mark", "decimal", [["", "by the separator"], [".", "a point: 2.934"], [",", "a comma: 2,934"]]),
    null: textOption("No value is", "null", "Texts between commas, in place of the usual NA, None, null, -", "missing,?"),
    tag_columns: textOption("Columns as tags", "tag_columns", "Between commas", "optimizer,seed"),
    id: textOption("Named by", "id", "Columns between commas; or content, for a name made of the run’s values", "run,seed"),
    where: textOption("Only rows where", "where", "The others are left out and counted", 'State == "finished" and steps > 1000'),
    keep: textOption("Of several rows keep", "keep", "One a run: last, first, min or max of a column", "last:step"),
  };
  /** @type {Record<string, Option>} By the name of the field. */
  const fields = Object.fromEntries(FIELDS.map(([name, label]) => [name, textOption(name === "data" ? `${label} in ${family.data_unit}` : label, name, "")]));
  fields.data.control.placeholder = "steps*512*1024";
  fields.loss.control.placeholder = "ln(`eval/ppl`)";
  fields.sparsity.control.placeholder = "1-dense/total";
  const mapProblems = el("div", {});
  const group = (/** @type {string} */ legend, /** @type {import("../dom.js").Child[]} */ ...children) => el("details", { open: matchMedia("(min-width: 64rem)").matches }, el("summary", {}, legend), children);
  const node = el(
    "form",
    { "aria-label": "How the file is read", on: { submit: (/** @type {Event} */ event) => event.preventDefault(), input: changed } },
    el(
      "fieldset",
      {},
      el("legend", { class: "unseen" }, "How the file is read"),
      el("div", { class: "form" }, format.node, options.source.node),
      group("Where fields come from", el("p", { class: "hint" }, "A column, or an expression such as 1-dense/total. A field without one is looked for by its own name. As soon as one is given, columns that mean nothing are ignored."), mapProblems, el("div", { class: "rows" }, FIELDS.map(([name]) => fields[name].node))),
      group("Which rows are runs", el("div", { class: "rows" }, ["id", "where", "keep"].map((name) => options[name].node))),
      group("Numbers, separators and tags", el("div", { class: "rows" }, ["sparsity_unit", "separator", "decimal", "null", "tag_columns"].map((name) => options[name].node))),
    ),
  );

  /** Removes the remarks beside the options. */
  function quiet() {
    for (const each of [format, ...Object.values(options), ...Object.values(fields)]) each.say("");
    fill(mapProblems);
  }

  return {
    node,
    /** @type {HTMLSelectElement} */
    format: format.control,
    /** @param {boolean} is */
    disable(is) { node.firstChild.disabled = is; },
    /** @returns {[string, string][]} As query parameters. */
    query() {
      const maps = FIELDS.map(([name]) => ["map", name, fields[name].control.value.trim()]).filter(([, , text]) => text);
      const others = Object.entries(options).map(([name, { control }]) => [name, control.value]).filter(([, value]) => value.trim());
      return /** @type {[string, string][]} */ ([...maps.map(([map, name, text]) => [map, `${name}:${text}`]), ...others]);
    },
    /** @param {Record<string, string>} columns What each field came from. */
    showColumns(columns) {
      quiet();
      for (const [name, { say }] of Object.entries(fields)) say(columns[name] === undefined ? "" : `from ${columns[name]}`);
    },
    /**
     * Shows the service's errors beside the options concerned.
     *
     * @param {{pointer: string, detail: string}[]} errors
     * @returns {{pointer: string, detail: string}[]} The errors that concern no option.
     */
    showErrors(errors) {
      quiet();
      return errors.filter(({ pointer, detail }) => {
        const name = pointer.replace(/^\//, "");
        const about = Object.hasOwn(options, name) ? options[name] : Object.hasOwn(fields, name) ? fields[name] : null;
        if (about) {
          // The first error is about the cause.
          if (!about.control.hasAttribute("aria-invalid")) about.say(detail, true);
          show(about.node);
        } else if (name === "map") {
          // The detail begins with the field, or with the name of a column, which may be all that was typed.
          const meant = Object.entries(fields).filter(([key, { control }]) => {
            const text = control.value.trim();
            return text !== "" && [`${key} `, `${key}:`, `there is no column ${text};`].some((start) => detail.startsWith(start));
          });
          for (const [, field] of meant) field.say(detail, true);
          if (meant.length === 0) mapProblems.append(el("p", { class: "bad" }, detail));
          show(mapProblems);
        } else {
          return true;
        }
        return false;
      });
    },
    quiet,
  };
}

/** @param {HTMLElement} node Unfolds the section that hides it. */
function show(node) {
  const details = node.closest("details");
  if (details) details.open = true;
}

/** @param {HTMLElement} main @param {import("./family.js").Context} context */
export function showUpload(main, context) {
  const { name, family, readOnly, signal } = context;
  if (readOnly) {
    fill(main, el("section", { class: "panel" }, el("h2", {}, "Upload runs"), el("p", { class: "denied" }, readOnly)));
    return;
  }
  const status = el("div", {});
  const work = el("div", { class: "columns", hidden: true });
  const findings = el("div", { class: "findings" });
  /** @type {File | null} */
  let file = null;
  let asked = new AbortController();

  const input = el("input", { type: "file", id: "file", "aria-describedby": "file-hint" });
  const drop = el(
    "div",
    { class: "drop" },
    el("p", {}, el("label", { for: "file" }, el("strong", {}, "Drop a file of finished training runs here, or choose one")), " "),
    input,
    el("p", { class: "hint", id: "file-hint" }, "CSV with a header, JSON, NDJSON, Parquet, Arrow or Excel; .gz, .zst, .xz and .bz2 too. Nothing is written before you have seen what would be."),
  );
  const soon = settled(check, SETTLED_MS);
  const options = optionsForm(family, () => { stale(); soon(); });
  fill(work, el("section", { class: "panel aside", "aria-labelledby": "reading" }, el("h2", { id: "reading" }, "How the file is read"), options.node), findings);
  fill(main, el("section", { class: "panel", "aria-labelledby": "upload" }, el("h2", { id: "upload" }, "Upload runs"), drop, status), work);

  const over = (/** @type {boolean} */ is) => drop.classList.toggle("over", is);
  drop.addEventListener("dragover", (/** @type {DragEvent} */ event) => { event.preventDefault(); over(true); });
  drop.addEventListener("dragleave", () => over(false));
  drop.addEventListener("drop", (/** @type {DragEvent} */ event) => {
    event.preventDefault();
    over(false);
    const dropped = event.dataTransfer?.files[0];
    if (dropped) open(dropped);
  });
  // Allows the same file to be chosen again after it was changed.
  input.addEventListener("click", () => { input.value = ""; });
  input.addEventListener("change", () => input.files[0] && open(input.files[0]));
  signal.addEventListener("abort", () => asked.abort());

  /** @param {File} chosen */
  function open(chosen) {
    file = chosen;
    const { format, coding } = contentByName(chosen.name);
    options.format.value = format ?? "text/csv";
    const size = chosen.size < 1e6 ? `${Math.ceil(chosen.size / 1e3)} kB` : `${(chosen.size / 1e6).toFixed(1)} MB`;
    fill(status, el("p", {}, `${chosen.name}: ${size}${coding ? `, compressed by ${coding}` : ""}.`, format === null && " Its name does not say its format: it is taken for CSV unless you choose another."));
    work.hidden = false;
    options.quiet();
    fill(findings);
    check();
  }

  /** Marks the findings as outdated: they are no longer about what would be sent. */
  function stale() {
    asked.abort();
    findings.querySelectorAll("button").forEach((/** @type {HTMLButtonElement} */ button) => { button.disabled = true; });
    findings.classList.add("old");
  }

  /** @param {File} of @param {[string, string][]} query @param {AbortSignal} until @returns {Promise<any>} */
  function send(of, query, until) {
    const { coding } = contentByName(of.name);
    return sendFile(familyPath(name, "/runs"), query, of, { "Content-Type": options.format.value, ...(coding && { "Content-Encoding": coding }) }, until);
  }

  /** Asks the service what it would store, and shows that. */
  async function check() {
    if (!file || signal.aborted) return;
    stale();
    asked = new AbortController();
    const until = asked.signal;
    if (findings.childElementCount === 0) fill(findings, loading(`The service reads ${file.name}…`));
    const query = options.query();
    try {
      const result = await send(file, [["dry_run", "true"], ...query], until);
      if (until.aborted) return;
      options.showColumns(result.recognised.columns);
      showFindings(result, query);
    } catch (error) {
      if (until.aborted) return;
      findings.classList.remove("old");
      const problem = /** @type {any} */ (error);
      if (error instanceof Problem) {
        const others = options.showErrors(error.errors);
        const beside = error.errors.length - others.length;
        const shown = beside === 0 ? { title: error.title, detail: error.detail, errors: byDetail(others) } : { title: error.title, detail: `See what is said beside the options: ${error.detail}`, errors: byDetail(others) };
        // Offer a retry only for errors that may pass; a refused file would be refused again.
        const passing = error.status === 0 || error.status === 429 || error.status >= 500;
        fill(findings, failure(shown, passing ? check : undefined));
      } else {
        options.quiet();
        fill(findings, failure(problem, check));
      }
    }
  }

  /** @param {any} result @param {[string, string][]} query The query that it answers. */
  function showFindings(result, query) {
    const { recognised, preview, warnings, left_out, errors } = result;
    const good = result.created + result.updated + result.unchanged;
    const leftOut = Object.entries(left_out);
    const skip = el("input", { type: "checkbox" });
    const button = el("button", { type: "button", class: "primary" }, `Upload ${plural(good, "run")} to ${name}`);
    const arm = () => { button.disabled = good === 0 || (errors > 0 && !skip.checked); };
    skip.addEventListener("change", arm);
    arm();
    const outcome = el("div", {});
    button.addEventListener("click", () => upload(skip.checked ? [...query, ["on_error", "skip"]] : query, button, outcome));
    const counts = `${plural(good, "run")} can be written: ${told(result)}.`;
    findings.classList.remove("old");
    fill(
      findings,
      el(
        "section",
        { class: "panel", "aria-labelledby": "recognised" },
        el("h2", { id: "recognised" }, "What the service recognised"),
        el("p", {}, formatSentence(recognised)),
        table({
          caption: "Where the fields of the first run come from",
          columns: [{ text: "Field" }, { text: "Column or expression" }],
          rows: FIELDS.filter(([field]) => recognised.columns[field] !== undefined).map(([field]) => [el("code", {}, field), el("code", {}, recognised.columns[field])]),
        }),
        leftOut.length > 0 && el("div", { class: "gap" }, el("h3", {}, "Left out"), el("ul", { class: "plain" }, leftOut.map(([reason, rows]) => el("li", {}, `${plural(/** @type {number} */ (rows), "row")}: `, reason === "where" ? "the condition does not hold" : reason)))),
        warnings.length > 0 && el("div", { class: "notes" }, el("h3", {}, plural(warnings.length, "warning")), el("ul", {}, warnings.map((/** @type {any} */ warning) => el("li", {}, warning.detail)))),
      ),
      el(
        "section",
        { class: "panel", "aria-labelledby": "preview" },
        el("h2", { id: "preview" }, "What would be written"),
        preview.runs.length > 0 && previewTable(preview.runs, good),
        el("p", { role: "status" }, counts, errors > 0 && ` ${plural(errors, "error")} in other rows:`),
        errors > 0 && [
          table({
            caption: "Errors, each kind once",
            columns: [{ text: "Field" }, { text: "What is wrong" }, { text: "How often", number: true }, { text: "Rows, from 0" }],
            rows: preview.errors.slice(0, MOST_ERRORS).map((/** @type {any} */ kind) => [el("code", {}, kind.field), kind.detail, formatWhole(kind.count), `${kind.rows.join(", ")}${kind.count > kind.rows.length ? ", …" : ""}`]),
          }),
          good > 0 && el("p", {}, el("label", { class: "check" }, skip, "Leave these rows out and upload the others")),
        ],
        el("p", { class: "buttons" }, button),
        outcome,
      ),
    );
    announce(errors > 0 ? `${counts} ${plural(errors, "error")}.` : counts);
  }

  /** @param {any[]} runs @param {number} of @returns {HTMLElement} */
  function previewTable(runs, of) {
    const excluded = runs.some((run) => run.exclusion_reason !== null);
    return table({
      caption: of > runs.length ? `The first ${runs.length} of ${formatWhole(of)} runs` : `All ${plural(of, "run")}`,
      columns: [{ text: "Run" }, { text: "Non-zero", number: true }, { text: "Sparsity", number: true }, { text: family.data_unit, number: true }, { text: "Loss", number: true }, { text: "Kind" }, { text: "Tags" }, ...(excluded ? [{ text: "Excluded" }] : [])],
      rows: runs.map((run) => [
        run.external_id,
        formatCount(run.nonzero_params),
        formatLevel(run.sparsity),
        formatCount(run.data),
        formatLoss(run.loss, 5),
        [run.pattern ?? "unstructured", run.start === "pretrained" && ", pretrained"],
        Object.entries(run.tags).map(([key, value]) => `${key}=${value}`).join(" "),
        ...(excluded ? [run.exclusion_reason] : []),
      ]),
    });
  }

  /**
   * Stores the file, with what was shown.
   *
   * @param {[string, string][]} query
   * @param {HTMLButtonElement} button
   * @param {HTMLElement} outcome
   */
  async function upload(query, button, outcome) {
    if (!file) return;
    button.disabled = true;
    options.disable(true);
    input.disabled = true;
    fill(outcome, loading(`Sending ${file.name}…`));
    try {
      const result = await send(file, query, signal);
      const said = `Written: ${told(result)}.${result.errors > 0 ? ` ${plural(result.errors, "error")}: these rows were left out.` : ""}`;
      fill(outcome, el("p", { class: "success" }, said, " ", el("a", { href: address({ view: "laws" }) }, "Refit"), " to include them in the law, or ", el("a", { href: address({ view: "runs" }) }, "see the runs"), "."));
      announce(said);
    } catch (error) {
      if (signal.aborted) return;
      const problem = /** @type {any} */ (error);
      const shown = error instanceof Problem ? { title: error.title, detail: error.detail, errors: byDetail(error.errors) } : problem;
      // The connection may have ended after everything was stored but before the answer arrived.
      const written = error instanceof Problem && error.status > 0 ? "Nothing was written." : "It is not known whether it was written. Sending it again is safe.";
      fill(outcome, failure(shown), el("p", {}, written));
      button.disabled = false;
    } finally {
      options.disable(false);
      input.disabled = false;
    }
  }
}

/**
 * Merges errors that say the same about several places, such as columns.
 *
 * @param {{pointer: string, detail: string}[]} errors
 * @returns {{pointer: string, detail: string}[]}
 */
function byDetail(errors) {
  /** @type {Map<string, string[]>} */
  const places = new Map();
  for (const { pointer, detail } of errors) {
    const place = pointer.replace(/^\//, "").replaceAll("~1", "/").replaceAll("~0", "~");
    places.set(detail, [...(places.get(detail) ?? []), place]);
  }
  return [...places].map(([detail, of]) => ({ pointer: of.join(", "), detail })).slice(0, MOST_ERRORS);
}

/** @param {any} result @returns {string} */
function told({ created, updated, unchanged }) {
  return `${formatWhole(created)} new, ${formatWhole(updated)} updated, ${formatWhole(unchanged)} unchanged`;
}

/** @param {{format: string, separator: string | null, decimal: string | null}} recognised @returns {string} */
function formatSentence({ format, separator, decimal }) {
  const called = FORMATS.find(([type]) => type === format)?.[1] ?? format;
  const cells = separator === null ? "" : `, cells separated by ${SEPARATORS[separator] ?? separator}`;
  const marks = separator === null ? "" : `, ${decimal === "," ? "decimal commas" : decimal === "." ? "decimal points" : "and commas in numbers are refused until the decimal mark is chosen"}`;
  return `${called}${cells}${marks}.`;
}

/**
 * Settings of a family: changing them, and deleting the family.
 *
 * Settings that the user has not touched follow the changes of others; those that they have are kept, and only these are sent.
 *
 * @module views/settings
 */

import { change, familyPath, get, list } from "../api.js";
import { unless, whyNot } from "../caller.js";
import { announce, dialog, dialogButtons, el, failure, field, fill, typed } from "../dom.js";
import { formatNumber, formatWhole, parseFraction, parseNumber, plural } from "../numbers.js";
import { go } from "../url.js";

/**
 * @typedef {object} Setting
 * @property {string} key Name in the API.
 * @property {string} label
 * @property {HTMLElement} node
 * @property {(value: any) => void} write Shows a value of the family in the controls.
 * @property {() => any} read The value in the controls; throws if it cannot be sent.
 * @property {(value: any) => string} say Describes a value in words.
 */

/** Runs and laws are counted up to this number; beyond it the dialog says "more than". */
const COUNTED = 1000;

/** @param {HTMLElement} main @param {import("./family.js").Context} context */
export async function showSettings(main, context) {
  const { name, signal } = context;
  const [mayNotDelete, first] = await Promise.all([whyNot("admin", { family: name }), get(familyPath(name, "/runs"), { limit: 1 }, signal)]);
  const inUse = Boolean(context.family.active_law) || first.items.length > 0;
  const settings = settingsOf(inUse);
  const { readOnly } = context;
  /** The family whose values the untouched settings show. */
  let base = context.family;
  const notice = el("div", {});
  const status = el("div", {});
  const save = el("button", { type: "submit", class: "primary", disabled: true }, "Save");
  const undo = el("button", { type: "button", disabled: true, on: { click: () => { settings.forEach((setting) => setting.write(base[setting.key])); fill(status); touched(); } } }, "Undo");
  const form = el(
    "form",
    { on: { submit, input: () => touched(), change: () => touched() } },
    el("fieldset", { disabled: Boolean(readOnly) }, el("legend", { class: "unseen" }, `Settings of ${name}`), el("div", { class: "settings" }, settings.map(({ node }) => node))),
    notice,
    unless(readOnly, el("p", { class: "buttons" }, save, undo, el("span", { class: "foot" }, "Laws that exist keep what they were made with: settings count from the next refit on."))),
    status,
  );
  const end = el(
    "section",
    { class: "panel", "aria-labelledby": "end" },
    el("h2", { id: "end" }, "Delete this family"),
    el("p", {}, "Its runs, laws, refits, forecasts, mappings and waiting uploads go with it. Nothing brings them back."),
    el("p", { class: "buttons" }, unless(mayNotDelete, el("button", { type: "button", class: "danger", on: { click: askDelete } }, "Delete this family…"))),
  );
  const gone = el("div", {});
  end.append(gone);
  fill(main, el("div", { class: "columns-2" }, el("section", { class: "panel", "aria-labelledby": "settings" }, el("h2", { id: "settings" }, "Settings"), form), end));
  settings.forEach((setting) => setting.write(base[setting.key]));

  /** @param {Setting} setting @returns {boolean} Whether the user has changed it. */
  function isTouched(setting) {
    try {
      return !same(setting.read(), base[setting.key]);
    } catch {
      return true;
    }
  }

  function touched() {
    const some = settings.some(isTouched);
    save.disabled = !some;
    undo.disabled = !some;
  }

  /**
   * Takes over the changes of others, and reports them.
   *
   * @param {any} now The family in its present state.
   * @returns {boolean} Whether others have changed something that the user has changed too.
   */
  function follow(now) {
    const others = settings.filter((setting) => !same(now[setting.key], base[setting.key]));
    const both = others.filter((setting) => isTouched(setting) && !same(attempt(setting), now[setting.key]));
    others.filter((setting) => !both.includes(setting)).forEach((setting) => setting.write(now[setting.key]));
    base = now;
    if (others.length > 0) {
      const said = others.map((setting) => `${setting.label.toLowerCase()} is ${setting.say(now[setting.key])} now`).join("; ");
      fill(
        notice,
        el("div", { class: "notes" }, el("p", {}, `Somebody else changed this family: ${said}.`), both.map((setting) => el("p", { class: "buttons" }, `What you have typed as ${setting.label.toLowerCase()} is not stored. `, el("button", { type: "button", on: { click: (/** @type {Event} */ event) => { setting.write(base[setting.key]); touched(); /** @type {HTMLElement} */ (event.currentTarget).closest("p")?.remove(); } } }, "Take theirs"), el("span", { class: "foot" }, "or save, to replace it.")))),
      );
      announce(`Somebody else changed this family: ${said}.`);
    }
    touched();
    return both.length > 0;
  }

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    save.disabled = true;
    fill(status);
    marks(settings, []);
    try {
      // A change that somebody made a moment ago, and that this page does not know yet, must not be overwritten unseen.
      const now = await get(familyPath(name), {}, signal);
      if (Date.parse(now.updated_at) !== Date.parse(base.updated_at) && follow(now)) return;
      const changes = Object.fromEntries(settings.filter(isTouched).map((setting) => [setting.key, setting.read()]));
      if (Object.keys(changes).length === 0) return;
      base = await change("PATCH", familyPath(name), changes);
      await context.refresh();
      settings.forEach((setting) => setting.write(base[setting.key]));
      fill(notice);
      const said = `Saved: ${settings.filter(({ key }) => key in changes).map(({ label }) => label.toLowerCase()).join(", ")}.`;
      fill(status, el("p", { class: "success" }, said));
      announce(said);
    } catch (error) {
      if (signal.aborted) return;
      marks(settings, /** @type {any} */ (error).errors ?? []);
      fill(status, failure(error));
    } finally {
      touched();
    }
  }

  context.listen({
    standing: ({ updated_at }) => {
      if (Date.parse(updated_at) <= Date.parse(base.updated_at)) return;
      // Changes made by the page itself are reported as well, possibly before its own request is answered.
      get(familyPath(name), {}, signal).then((now) => { if (Date.parse(now.updated_at) > Date.parse(base.updated_at)) { context.family = now; follow(now); } }, () => {});
    },
  });

  async function askDelete() {
    fill(gone);
    try {
      const [runs, laws] = await Promise.all([list(familyPath(name, "/runs"), {}, { most: COUNTED, signal }), list(familyPath(name, "/laws"), {}, { most: COUNTED, signal })]);
      const count = (/** @type {{items: any[], more: boolean}} */ { items, more }, /** @type {string} */ noun) => (more ? `more than ${formatWhole(COUNTED)} ${noun}s` : plural(items.length, noun));
      const { outcome } = await dialog(
        `Delete ${name}?`,
        el("p", {}, "With it go ", el("strong", {}, `${count(runs, "run")} and ${count(laws, "law")}`), ", its refits, forecasts, mappings and waiting uploads. Nothing brings them back."),
        runs.items.length > 0 && el("p", {}, "To keep the runs elsewhere, ", el("a", { href: "book/frames", target: "_blank" }, "export them first"), "."),
        typed(name, `Type its name, ${name}, to confirm`),
        dialogButtons("Delete for good", true),
      );
      if (outcome !== "yes") return;
      await change("DELETE", familyPath(name));
      go("./");
      announce(`${name} is deleted.`);
    } catch (error) {
      if (!signal.aborted) fill(gone, failure(error));
    }
  }
}

/** @param {Setting} setting @returns {any} The value in the controls; undefined if it cannot be sent. */
function attempt(setting) {
  try {
    return setting.read();
  } catch {
    return undefined;
  }
}

/** @param {any} a @param {any} b @returns {boolean} */
function same(a, b) {
  if (a === b) return true;
  if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return (a ?? null) === (b ?? null);
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => same(a[key], b[key]));
}

/** @param {Setting[]} settings @param {{pointer: string, detail: string}[]} errors Shown beside the settings concerned. */
function marks(settings, errors) {
  for (const { key, node } of settings) {
    const wrong = errors.filter(({ pointer }) => pointer === `/${key}` || pointer.startsWith(`/${key}/`));
    node.querySelector(".wrong")?.remove();
    node.querySelectorAll("input, textarea").forEach((input) => input.setAttribute("aria-invalid", String(wrong.length > 0)));
    if (wrong.length > 0) node.append(el("p", { class: "wrong bad" }, wrong.map(({ pointer, detail }) => `${pointer === `/${key}` ? "" : `${pointer.slice(key.length + 2)} `}${detail}`).join("; ")));
  }
}

/** @param {string} detail @returns {Error} About a field whose content cannot be sent. */
const unreadable = (detail) => Object.assign(new Error(detail), { title: "This cannot be saved" });

/** @param {string} text @param {string} label @returns {number} @throws {Error} */
function number(text, label) {
  const value = parseNumber(text);
  if (Number.isNaN(value)) throw unreadable(`${label}: “${text}” is no number.`);
  return value;
}

/** @param {string} text @param {string} label @returns {number} @throws {Error} */
function share(text, label) {
  // Here 1 means the end of training, and not one percent of it.
  const value = text.trim() === "1" ? 1 : text.includes("%") ? parseNumber(text.replace("%", "")) / 100 : parseFraction(text);
  if (Number.isNaN(value)) throw unreadable(`${label}: “${text}” is no share: 0.25 or 25 %.`);
  return value;
}

/** @param {number} value @returns {string} In a form that is parsed exactly. */
const plain = (value) => String(value);

/** @param {boolean} inUse Whether the family has runs or laws. @returns {Setting[]} */
function settingsOf(inUse) {
  const text = (/** @type {Record<string, any>} */ props) => el("input", { autocomplete: "off", spellcheck: "false", ...props });
  const description = el("textarea", { name: "description", rows: 2, maxlength: 2000 });
  const unit = text({ name: "data_unit", required: true, maxlength: 200, disabled: inUse });
  const tokens = text({ name: "tokens_per_data_unit", inputmode: "decimal", placeholder: "not known" });
  const flops = text({ name: "flops_per_param", inputmode: "decimal", required: true });
  const residual = el("select", { name: "residual" }, el("option", { value: "log" }, "log: relative errors"), el("option", { value: "linear" }, "linear: absolute errors"));
  const delta = text({ name: "delta", required: true });
  const kind = el("select", { name: "pruning" }, el("option", { value: "ramp" }, "by a ramp"), el("option", { value: "points" }, "as measured"));
  const [start, finish, exponent] = ["start", "end", "exponent"].map((name) => text({ name: `pruning-${name}`, inputmode: "decimal", required: true }));
  const points = el("textarea", { name: "pruning-points", rows: 4, spellcheck: "false" });
  const pattern = text({ name: "pruning-pattern_start", inputmode: "decimal", placeholder: "the end" });
  const zeros = el("select", { name: "zeros" }, el("option", { value: "weights" }, "weights"), el("option", { value: "experts" }, "experts"));
  const counts = text({ name: "experts-counts", placeholder: "8, 16, 32" });
  const active = text({ name: "experts-active", placeholder: "1, 2" });
  const shared = text({ name: "experts-shared_share", placeholder: "0.33" });
  const ramp = el("div", { class: "form" }, field("Start", start), field("End", finish), field("Exponent", exponent));
  const measured = field("Progress and share, a point a line", points, "0.25 0, then 0.75 1");
  const ofExperts = el("div", { class: "form" }, field("Numbers of experts", counts), field("Active ones", active), field("Share that all pass", shared));
  const showKinds = () => {
    ramp.hidden = kind.value !== "ramp";
    measured.hidden = kind.value === "ramp";
    ofExperts.hidden = zeros.value !== "experts";
    // Hidden fields must not keep the form from being sent.
    [start, finish, exponent].forEach((input) => { input.disabled = kind.value !== "ramp"; });
  };
  [kind, zeros].forEach((select) => select.addEventListener("change", showKinds));
  const numbers = (/** @type {string} */ of, /** @type {string} */ label) => of.split(/[\s,;]+/).filter(Boolean).map((one) => number(one, label));
  const group = (/** @type {string} */ label, /** @type {import("../dom.js").Child[]} */ ...inside) => el("fieldset", {}, el("legend", {}, label), inside);
  return [
    {
      key: "description", label: "Description", node: field("Description", description, "For people; at most 2,000 characters."),
      write: (value) => { description.value = value; }, read: () => description.value, say: (value) => (value ? `“${value.length > 60 ? `${value.slice(0, 57)}…` : value}”` : "empty"),
    },
    {
      key: "data_unit", label: "Data unit", node: field("Data is counted in", unit, inUse ? "Fixed: there are runs or laws that count in it." : "Fixed once there are runs or laws."),
      write: (value) => { unit.value = value; }, read: () => unit.value.trim(), say: String,
    },
    {
      key: "tokens_per_data_unit", label: "Tokens in a data unit", node: field("Tokens in one of these", tokens, "Where it means something; may stay empty."),
      write: (value) => { tokens.value = value === null ? "" : plain(value); }, read: () => (tokens.value.trim() === "" ? null : number(tokens.value, "Tokens in one of these")), say: (value) => (value === null ? "not known" : formatNumber(value, 6)),
    },
    {
      key: "flops_per_param", label: "FLOPs per parameter", node: field("FLOPs per parameter and unit of data", flops, "6 for a forward and a backward pass over a token."),
      write: (value) => { flops.value = plain(value); }, read: () => number(flops.value, "FLOPs per parameter and unit of data"), say: (value) => formatNumber(value, 6),
    },
    {
      key: "objective", label: "Objective", node: group("What refits minimise", el("div", { class: "form" }, field("Errors", residual), field("Huber's delta", delta, "auto, or a number in units of the error"))),
      write: (value) => { residual.value = value.residual; delta.value = plain(value.delta); },
      read: () => ({ residual: residual.value, delta: delta.value.trim() === "auto" ? "auto" : number(delta.value, "Huber's delta") }),
      say: (value) => `${value.residual} with delta ${value.delta}`,
    },
    {
      key: "pruning", label: "Pruning", node: group("When zeros come in, by the progress of training", el("div", { class: "form" }, field("Given", kind)), ramp, measured, el("div", { class: "form" }, field("Patterns run from", pattern, "Where they are there before the end"))),
      write: (value) => {
        kind.value = value.points ? "points" : "ramp";
        if (value.points) points.value = value.points.map((/** @type {number[]} */ point) => point.join(" ")).join("\n");
        else [start.value, finish.value, exponent.value] = [value.start, value.end, value.exponent].map(plain);
        pattern.value = value.pattern_start === undefined || value.pattern_start === null ? "" : plain(value.pattern_start);
        showKinds();
      },
      read: () => {
        const from = pattern.value.trim() === "" ? {} : { pattern_start: share(pattern.value, "Patterns run from") };
        if (kind.value === "ramp") return { start: share(start.value, "Start"), end: share(finish.value, "End"), exponent: number(exponent.value, "Exponent"), ...from };
        const lines = points.value.split("\n").map((/** @type {string} */ line) => line.trim()).filter(Boolean);
        return { points: lines.map((/** @type {string} */ line) => numbers(line, "A point")), ...from };
      },
      say: (value) => (value.points ? plural(value.points.length, "measured point") : `from ${value.start} to ${value.end} with exponent ${value.exponent}`),
    },
    {
      key: "zeros", label: "Zeros", node: field("The zeros are", zeros, "Weights that are zero, or experts that a token does not pass."),
      write: (value) => { zeros.value = value; showKinds(); }, read: () => zeros.value, say: String,
    },
    {
      key: "experts", label: "Experts", node: ofExperts,
      write: (value) => { [counts.value, active.value, shared.value] = value ? [value.counts.join(", "), value.active.join(", "), plain(value.shared_share)] : ["", "", ""]; },
      read: () => {
        if (zeros.value !== "experts" || [counts, active, shared].every(({ value }) => value.trim() === "")) return null;
        return { counts: numbers(counts.value, "Numbers of experts"), active: numbers(active.value, "Active ones"), shared_share: share(shared.value, "Share that all pass") };
      },
      say: (value) => (value ? `${value.counts.join(", ")}, active ${value.active.join(", ")}` : "none"),
    },
  ];
}

/**
 * Hardware profiles: FLOP modes besides dense and sparse, with the curve of what a training step costs.
 *
 * @module views/hardware
 */

import { change, get, list } from "../api.js";
import { unless, whyNot } from "../caller.js";
import { announce, dialog, dialogButtons, el, empty, failure, field, fill, table } from "../dom.js";
import { stepCostFigure } from "../figures.js";
import { forgetProfiles, numberField, settled } from "../inputs.js";
import { formatAge, formatLevel, formatNumber, parseFraction, parseNumber } from "../numbers.js";
import { picture } from "../plots.js";
import { address, go, note, params } from "../url.js";

/** Further profiles can be opened by their name in the address. */
const MOST = 1000;
const STORAGES = ["dense", "bitmask", "csr", "2:4"];
const PATH = "/v1/hardware-profiles";
/** Stands for the form of a new profile in the address; no profile can have this name. */
const NEW = "+";

/** @param {HTMLElement} main @param {AbortSignal} signal */
export async function showHardware(main, signal) {
  const asked = params().get("profile");
  const { items } = await list(PATH, {}, { most: MOST, signal });
  const readOnly = await whyNot("write", { everywhere: true });
  const shown = asked && asked !== NEW ? (items.find((p) => p.name === asked) ?? (await get(`${PATH}/${encodeURIComponent(asked)}`, {}, signal))) : null;
  const listed = el(
    "section",
    { class: "panel", "aria-labelledby": "profiles" },
    el("h2", { id: "profiles" }, "Profiles"),
    items.length === 0 ? empty("There is none. A profile says what a training step costs at each sparsity.") : profileTable(items, asked),
  );
  fill(
    main,
    el("div", { class: "head" }, el("h1", {}, "Hardware profiles"), unless(readOnly, el("button", { type: "button", class: "primary", on: { click: () => go(address({ view: "hardware", profile: NEW }, new URLSearchParams())) } }, "New profile"))),
    el("p", { class: "foot" }, "What a training step costs on a device at each sparsity, relative to a dense step of the same shape. Wherever a step's cost is chosen, a profile can be named."),
    asked ? el("div", { class: "columns gap" }, editor(shown, listed, readOnly, signal)) : el("div", { class: "gap" }, listed),
  );
}

/** @param {any[]} items @param {string | null} asked @returns {HTMLElement} */
function profileTable(items, asked) {
  return table({
    caption: "Newest first",
    hideCaption: true,
    columns: [{ text: "Profile" }, { text: "Cost of a step" }, { text: "Patterns" }, { text: "Stored as" }, { text: "Source" }, { text: "Changed" }],
    rows: items.map((profile) => [
      el("a", { href: address({ view: "hardware", profile: profile.name }, new URLSearchParams()), "aria-current": profile.name === asked ? "true" : null }, profile.name),
      costText(profile.cost),
      profile.patterns.map((/** @type {string} */ p) => (profile.pattern_costs[p] === undefined ? p : `${p} at ${formatNumber(profile.pattern_costs[p], 3)}`)).join(", ") || "none",
      profile.storage,
      el("div", { class: "clip long", title: profile.source }, profile.source),
      el("time", { datetime: profile.updated_at, title: profile.updated_at }, formatAge(profile.updated_at)),
    ]),
  });
}

/** @param {any} cost @returns {string} */
function costText(cost) {
  if (cost.points) return cost.points.length === 1 ? "1 measured point" : `${cost.points.length} measured points`;
  if (cost.prunable_share === 0) return "as dense, but for patterns";
  return `${formatLevel(cost.prunable_share)} prunable, ${formatLevel(cost.efficiency)} of the ideal`;
}

/**
 * Parses measured points.
 *
 * @param {string} text Such as `0.5 0.8` or `75 %, 0.55`, one point per line.
 * @returns {[number, number][]}
 * @throws {Error} Naming the first line that is not a point.
 */
export function parsePoints(text) {
  return lines(text).map((line) => {
    const parts = line.replace(/\s*%/g, "%").split(/[\s,;]+/);
    const [s, h] = [parts[0]?.endsWith("%") ? parseFraction(parts[0]) : parseNumber(parts[0] ?? ""), parseNumber(parts[1] ?? "")];
    if (parts.length !== 2 || Number.isNaN(s) || Number.isNaN(h)) throw new Error(`“${line}” is no point: a sparsity and a cost, as 0.5 0.8.`);
    return /** @type {[number, number]} */ ([s, h]);
  });
}

/**
 * Parses patterns, each with its measured cost if there is one.
 *
 * @param {string} text Such as `2:4 0.7`, one pattern per line.
 * @returns {{patterns: string[], pattern_costs: Record<string, number>}}
 * @throws {Error} Naming the first line whose cost is not a number.
 */
export function parsePatterns(text) {
  /** @type {[string, number][]} */
  const costs = [];
  const patterns = lines(text).map((line) => {
    const [name, cost, ...more] = line.split(/[\s,;]+/);
    const value = cost === undefined ? null : parseNumber(cost);
    if (more.length > 0 || Number.isNaN(value)) throw new Error(`“${line}” is no pattern: 2:4, or with its cost, 2:4 0.7.`);
    if (value !== null) costs.push([name, value]);
    return name;
  });
  return { patterns, pattern_costs: Object.fromEntries(costs) };
}

/** @param {number} value @returns {string} In a form that the field parses exactly; it takes values of at least 1 as percent. */
function fraction(value) {
  return value === 1 ? "100 %" : String(value);
}

/** @param {string} text @returns {string[]} */
function lines(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean);
}

/**
 * A form for a profile, and beside it the resulting curve.
 *
 * @param {any | null} profile Null for a new one.
 * @param {HTMLElement} listed Shown below the curve.
 * @param {string} readOnly Why the user may change nothing; empty if they may.
 * @param {AbortSignal} signal
 * @returns {import("../dom.js").Child[]}
 */
function editor(profile, listed, readOnly, signal) {
  const share = profile?.cost.points ? null : profile?.cost;
  const name = el("input", { name: "name", required: true, pattern: "[a-z0-9](?:[a-z0-9\\-]*[a-z0-9])?", maxlength: 64, autocomplete: "off" });
  const kind = el("select", { name: "kind" }, el("option", { value: "share", selected: !profile?.cost.points }, "by a share of the FLOPs"), el("option", { value: "points", selected: Boolean(profile?.cost.points) }, "as measured"));
  const prunable = numberField({ label: "Share that zeros can save", name: "prunable", value: share ? fraction(share.prunable_share) : "90 %", format: formatLevel, min: 0, max: 1.0001, fraction: true, required: true, hint: "Matrix products, of all FLOPs" });
  const efficiency = numberField({ label: "Of the ideal speed-up", name: "efficiency", value: share ? fraction(share.efficiency) : "70 %", format: formatLevel, min: 1e-6, max: 1.0001, fraction: true, required: true, hint: "Achieved" });
  const points = el("textarea", { name: "points", rows: 5, spellcheck: "false", value: (profile?.cost.points ?? [[0.5, 0.8], [0.75, 0.55], [0.9, 0.4]]).map((/** @type {number[]} */ p) => p.join(" ")).join("\n") });
  const patterns = el("textarea", { name: "patterns", rows: 3, spellcheck: "false", value: (profile?.patterns ?? []).map((/** @type {string} */ p) => (profile.pattern_costs[p] === undefined ? p : `${p} ${profile.pattern_costs[p]}`)).join("\n") });
  const storage = el("select", { name: "storage" }, STORAGES.map((value) => el("option", { value, selected: value === (profile?.storage ?? "dense") }, value)));
  const source = el("textarea", { name: "source", rows: 2, maxlength: 2000, value: profile?.source ?? "" });
  const status = el("div", {});
  const ofShare = el("div", { class: "form" }, prunable.node, efficiency.node);
  const ofPoints = field("Sparsity and cost, a point a line", points, "Linear between them, constant beyond the last; 0 1 comes first where it is left out.");
  const save = el("button", { type: "submit", class: "primary" }, profile ? "Save" : "Create");
  const remove = profile && el("button", { type: "button", on: { click: askDelete } }, "Delete…");
  const curve = picture({ title: "Cost of a step", name: "step-cost", choices: [["", "even in sparsity"], ["density", "even in density (log)"]], signal });
  const form = el(
    "form",
    { on: { submit } },
    !profile && field("Name", name, "Small letters, digits and hyphens; neither dense nor sparse."),
    el("div", { class: "form" }, el("div", { class: "wide" }, field("What a step costs is given", kind)), el("div", { class: "wide" }, ofShare, ofPoints), el("div", { class: "wide" }, field("Patterns that it runs, one a line", patterns, "With the measured cost of a step where there is one: 2:4 0.7")), field("Weights are stored", storage), el("div", { class: "wide" }, field("Where the numbers come from", source))),
    el("p", { class: "buttons" }, unless(readOnly, save), !readOnly && remove, el("a", { href: address({ view: "hardware" }, new URLSearchParams()) }, "Close")),
    status,
  );

  /** @returns {any} The content of the form. @throws {Error} If it cannot be parsed. */
  function read() {
    const byShare = kind.value === "share";
    const wrong = byShare && [prunable, efficiency].find((f) => !f.ok());
    if (wrong) throw new Error(`${wrong.node.querySelector("label")?.textContent}: ${wrong.node.querySelector(".hint")?.textContent}.`);
    return {
      cost: byShare ? { prunable_share: prunable.read(), efficiency: efficiency.read() } : { points: parsePoints(points.value) },
      ...parsePatterns(patterns.value),
      storage: storage.value,
      source: source.value.trim(),
    };
  }

  function draw() {
    if (signal.aborted) return;
    ofShare.hidden = kind.value !== "share";
    ofPoints.hidden = kind.value === "share";
    try {
      curve.show(stepCostFigure(read()));
    } catch (error) {
      curve.say(/** @type {Error} */ (error).message);
    }
  }

  /** @param {Event} event */
  async function submit(event) {
    event.preventDefault();
    save.disabled = true;
    try {
      const body = read();
      const saved = profile ? await change("PATCH", `${PATH}/${encodeURIComponent(profile.name)}`, body) : await change("POST", PATH, { name: name.value, ...body });
      forgetProfiles();
      go(address({ view: "hardware", profile: saved.name }, new URLSearchParams()));
      announce(`${saved.name} is saved.`);
    } catch (error) {
      fill(status, failure(error));
    } finally {
      save.disabled = false;
    }
  }

  async function askDelete() {
    const { outcome } = await dialog(
      `Delete ${profile.name}?`,
      el("p", {}, "Questions and plans that name it are refused from then on. Laws and forecasts stay as they are."),
      dialogButtons("Delete"),
    );
    if (outcome !== "yes") return;
    try {
      await change("DELETE", `${PATH}/${encodeURIComponent(profile.name)}`);
      forgetProfiles();
      go(address({ view: "hardware" }, new URLSearchParams()));
      announce(`${profile.name} is deleted.`);
    } catch (error) {
      fill(status, failure(error));
    }
  }

  const rested = settled(draw, 200);
  [prunable.input, efficiency.input, points, patterns].forEach((input) => input.addEventListener("input", rested));
  kind.addEventListener("change", draw);
  // The picture must be part of the page before it is drawn.
  queueMicrotask(draw);
  if (!profile) note({ profile: NEW });
  return [el("section", { class: "panel", "aria-labelledby": "profile" }, el("h2", { id: "profile" }, profile?.name ?? "New profile"), form), el("div", {}, curve.node, el("div", { class: "gap" }, listed))];
}

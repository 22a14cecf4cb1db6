/**
 * The user of the page as the service sees them: what they may do, and their key, shown in the page header.
 *
 * @module caller
 */

import { get } from "./api.js";
import { dialog, el, fill } from "./dom.js";
import { forget, isKept, key } from "./key.js";

/** @typedef {"read" | "write" | "admin"} Scope */
/** @typedef {{kind: string, actor: string, name: string | null, scope: Scope, families: string[] | null, expires_at: string | null}} Caller */

/** Each scope includes those before it. @type {Scope[]} */
const SCOPES = ["read", "write", "admin"];
/** What a scope allows, in words. @type {Record<Scope, string>} */
const MAY = {
  read: "look things up and ask questions",
  write: "also store and change runs, laws, forecasts and profiles, and ask for refits",
  admin: "also delete families and manage keys",
};

/** Where no key is needed, everybody may do everything. @type {Caller} */
const ANYBODY = { kind: "anonymous", actor: "anonymous", name: null, scope: "admin", families: null, expires_at: null };

/** @type {{key: string | null, caller: Promise<Caller>} | null} */
let known = null;

/** @returns {Promise<Caller>} Requested once per key, and not at all without a key. */
export function caller() {
  const now = key();
  if (known?.key !== now) {
    const asked = now === null ? Promise.resolve(ANYBODY) : get("/v1/caller").catch((error) => { known = null; throw error; });
    known = { key: now, caller: asked };
  }
  return known.caller;
}

/**
 * Why the user may not do something: shown instead of a button that could only fail.
 *
 * @param {Scope} scope The scope that the action needs.
 * @param {{family?: string, everywhere?: boolean}} [about] The family that it changes, or whether it concerns all families.
 * @returns {Promise<string>} Empty if they may, or if that is not known: the service will then refuse by itself.
 */
export async function whyNot(scope, { family, everywhere = false } = {}) {
  const who = await caller().catch(() => ANYBODY);
  return reason(who, scope, { family, everywhere });
}

/**
 * @param {Caller} who
 * @param {Scope} scope
 * @param {{family?: string, everywhere?: boolean}} about
 * @returns {string}
 */
export function reason(who, scope, { family, everywhere = false }) {
  const what = who.kind === "token" ? "token" : "key";
  if (SCOPES.indexOf(who.scope) < SCOPES.indexOf(scope)) return `This needs a ${what} of the scope ${scope}; yours has ${who.scope}.`;
  if (family !== undefined && who.families && !who.families.includes(family)) return `Your ${what} is not for the family ${family}.`;
  if (everywhere && who.families) return `Your ${what} is for some families only, and this concerns all of them.`;
  return "";
}

/** @param {string} why @param {HTMLElement} control @returns {HTMLElement} The control, or the reason why it is missing. */
export function unless(why, control) {
  return why ? el("span", { class: "denied" }, why) : control;
}

/** @param {HTMLElement} node Shows the user in this element once they are known. */
export async function showCaller(node) {
  const who = await caller().catch(() => null);
  if (!who || who.kind === "anonymous") {
    // A key that the service refused can be removed too.
    fill(node, key() !== null && el("button", { type: "button", class: "quiet", on: { click: forget } }, "Log out"));
    return;
  }
  const name = who.name ?? who.actor.replace(/^oidc:/, "");
  fill(node, el("button", { type: "button", class: "quiet", title: `Who you are to the service: ${name}`, on: { click: () => showDetails(who, name) } }, el("span", { class: "clip" }, name), " ", el("span", { class: "badge" }, who.scope)));
}

/** @param {Caller} who @param {string} name */
async function showDetails(who, name) {
  const token = who.kind === "token";
  /** @type {[string, import("./dom.js").Child][]} */
  const pairs = [
    [token ? "Token of" : "Key", name],
    ["May", `${SCOPES.slice(0, SCOPES.indexOf(who.scope) + 1).map((scope) => MAY[scope]).join("; ")} (scope ${who.scope})`],
    ["Families", who.families?.join(", ") ?? "all"],
    ["Ends", who.expires_at ? `${who.expires_at.slice(0, 16).replace("T", " ")} UTC` : "never, unless it is revoked"],
    ["Kept", isKept() ? "on this device, until you log out" : "in the tabs of this page, until they are closed"],
  ];
  const { outcome } = await dialog(
    "Who you are to the service",
    el("dl", { class: "pairs options" }, pairs.map(([term, value]) => [el("dt", {}, term), el("dd", {}, value)])),
    el("p", { class: "foot" }, "Logging out forgets the ", token ? "token" : "key", " here, in every tab of this page, and what they show. It stays valid: who lost it should have it revoked."),
    el("p", { class: "buttons" }, el("button", { type: "submit", value: "", class: "primary" }, "Close"), el("button", { type: "submit", value: "out" }, "Log out")),
  );
  if (outcome === "out") forget();
}

/**
 * News about a family since its page was shown, displayed above all of its views.
 *
 * @module news
 */

import { change, familyPath } from "./api.js";
import { announce, el, failure } from "./dom.js";
import { formatPercent, plural } from "./numbers.js";
import { STATES } from "./refit.js";
import { address, go } from "./url.js";

/** Delay before news is shown: changes made by the page itself are shown by its view meanwhile, and are no news. */
const REST_MS = 400;

/**
 * @typedef {object} News
 * @property {HTMLElement} node
 * @property {import("./live.js").Listener} listener Receives what happens to the family.
 * @property {() => void} show Shows what differs from the page in its present state.
 */

/**
 * @typedef {object} Page What the page shows.
 * @property {string} name Name of the family.
 * @property {any} family
 * @property {any | null} law
 * @property {string} readOnly Why the user may change nothing; empty if they may.
 * @property {AbortSignal} signal
 */

/**
 * @param {Page} page Updated as the page shows other things.
 * @param {{ofOneView: Record<string, null>, showsRefits: () => boolean, showsSettings: () => boolean, renew: () => void}} options
 *   Parameters to remove from the address for another view, whether the view itself shows refits and settings, and a
 *   function that shows the page again.
 * @returns {News}
 */
export function newsOf(page, { ofOneView, showsRefits, showsSettings, renew }) {
  const node = el("div", { class: "news" });
  /** @type {import("./live.js").Standing | null} */
  let standing = null;
  let isDeleted = false;
  let isAway = false;
  /** Refits by id. @type {Map<string, any>} */
  const refits = new Map();
  /** Refits that ended while the page was open. @type {Set<string>} */
  const ended = new Set();
  /** The news shown, by subject. @type {Map<string, {text: string, node: HTMLElement}>} */
  const shown = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let resting;

  const later = () => {
    clearTimeout(resting);
    resting = setTimeout(show, REST_MS);
  };
  page.signal.addEventListener("abort", () => clearTimeout(resting));

  /** @param {string} id @returns {string} */
  const refitAddress = (id) => address({ ...ofOneView, view: "laws", refit: id });

  /** @param {HTMLButtonElement} button */
  async function refit(button) {
    button.disabled = true;
    try {
      // With the options of the answering law: for example, one with a borrowed gain has runs that cannot determine
      // another form. Its delta is left out, as it was found by the fit and is not an option.
      const { without: _, delta: __, ...options } = page.law?.options ?? {};
      const asked = await change("POST", familyPath(page.name, "/refits"), options);
      go(refitAddress(asked.id));
    } catch (error) {
      button.disabled = false;
      button.closest(".item")?.append(failure(error));
    }
  }

  /** @param {string} text @param {(button: HTMLButtonElement) => void} act @returns {HTMLElement} */
  function button(text, act) {
    const made = el("button", { type: "button" }, text);
    made.addEventListener("click", () => act(made));
    return made;
  }

  function show() {
    if (page.signal.aborted) return;
    /** The news to show: its subject, its text, and the action it offers. @type {[string, string, () => import("./dom.js").Child][]} */
    const items = [];
    const running = [...refits.values()].filter((one) => !one.finished_at);
    if (isAway) items.push(["away", "The service cannot be reached for now: what stands here is what it said last.", () => null]);
    if (isDeleted) {
      items.push(["deleted", "This family was deleted: what stands here is what it was.", () => el("a", { href: "./" }, "All families")]);
    } else if (standing) {
      const [now, here] = [standing.active_law?.version, page.law?.version];
      const since = standing.runs?.since_law;
      if (now !== undefined && now !== here) {
        items.push(["law", here === undefined ? `Law ${now} answers now.` : `Law ${now} answers now; this page was made with law ${here}.`, () => button(`Show law ${now}`, renew)]);
      } else if (showsSettings() && standing.pinned === page.family.pinned) {
        // The settings form shows the change itself.
      } else if (Date.parse(standing.updated_at) !== Date.parse(page.family.updated_at) || standing.pinned !== page.family.pinned) {
        items.push(["settings", "The settings of this family were changed.", () => button("Show them", renew)]);
      }
      if (now !== undefined && now === here && since && sinceInWords(since)) {
        const text = `Since law ${now}: ${sinceInWords(since)}.`;
        items.push(["runs", text, () => running.length === 0 && !page.family.pinned && !page.readOnly && button("Refit", refit)]);
      }
    }
    if (!showsRefits()) {
      for (const one of running) {
        const how = one.state === "running" ? `running: ${one.phase}, ${formatPercent(one.progress, 0)}` : STATES[one.state];
        const what = one.options.without?.length > 0 ? "A what-if" : "A refit";
        items.push([one.id, `${what} is ${how}.`, () => el("a", { href: refitAddress(one.id) }, "Follow it")]);
      }
      for (const one of [...ended].map((id) => refits.get(id))) {
        if (one.state === "failed") items.push([one.id, `A refit failed: ${one.error.detail}`, () => el("a", { href: refitAddress(one.id) }, "See it")]);
      }
    }
    draw(items);
  }

  /** @param {[string, string, () => import("./dom.js").Child][]} items */
  function draw(items) {
    for (const [key, { node: old }] of shown) {
      if (items.some(([about]) => about === key)) continue;
      old.remove();
      shown.delete(key);
    }
    for (const [key, text, act] of items) {
      const before = shown.get(key);
      const state = `${text}|${Boolean(act())}`;
      if (before?.text === state) continue;
      const fresh = el("div", { class: `item${key === "deleted" || key === "away" ? " gone" : ""}` }, el("span", {}, text), act());
      // Keep the keyboard focus on an item that is replaced.
      const focused = before?.node.contains(document.activeElement);
      if (before) before.node.replaceWith(fresh);
      else node.append(fresh);
      if (focused) /** @type {HTMLElement | null} */ (fresh.querySelector("a, button"))?.focus();
      // Progress of a refit is not announced with every percent.
      if (!refits.has(key) || !before) announce(text);
      shown.set(key, { text: state, node: fresh });
    }
  }

  return {
    node,
    show,
    listener: {
      standing: (now) => {
        standing = now;
        later();
      },
      refit: (now) => {
        const before = refits.get(now.id);
        if (now.finished_at && before && !before.finished_at) ended.add(now.id);
        refits.set(now.id, now);
        later();
      },
      deleted: () => {
        isDeleted = true;
        show();
      },
      away: (now) => {
        if (now === isAway) return;
        isAway = now;
        show();
      },
    },
  };
}

/** @param {{added: number, changed: number, removed: number}} since @returns {string} Such as `2 runs came, 1 was corrected`. */
export function sinceInWords({ added, changed, removed }) {
  const parts = [
    added > 0 && `${plural(added, "run")} came`,
    changed > 0 && `${plural(changed, "run")} ${changed === 1 ? "was" : "were"} corrected`,
    removed > 0 && `${plural(removed, "run")} ${removed === 1 ? "was" : "were"} taken out`,
  ];
  return parts.filter(Boolean).join(", ");
}

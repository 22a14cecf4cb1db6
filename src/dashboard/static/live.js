/**
 * Follows a family while its page is open.
 *
 * @module live
 */

import { events, familyPath, get, Problem } from "./api.js";

/** Pause before a stream that ended or failed is opened again. */
const RECONNECT_MS = 2000;
/** Interval of polling where there is no stream. */
const LOOK_MS = 5000;
/** How long the first event may take: a proxy may hold events back, which is as bad as no stream. */
const FIRST_MS = 10_000;
/** How long the page polls before it tries a stream again. */
const WITHOUT_MS = 60_000;
/** Number of the newest refits that are polled. */
const NEWEST = 8;

/**
 * @typedef {object} Standing The state of a family.
 * @property {string} updated_at
 * @property {{version: number} | null} active_law
 * @property {boolean} pinned
 * @property {number | null} newest_law
 * @property {{all: number, used: number, since_law: {added: number, changed: number, removed: number} | null} | null} runs
 *   Null when polling, as only the stream reports it.
 */

/**
 * @typedef {object} Listener
 * @property {(standing: Standing) => void} standing
 * @property {(refit: any) => void} refit
 * @property {() => void} deleted
 * @property {(isAway: boolean) => void} away Whether the service is unreachable: called after each attempt.
 */

/**
 * Follows a family by a stream of events, or by polling where there is no stream. A hidden page follows nothing:
 * browsers open only six connections to a service, and each stream takes one.
 *
 * @param {string} name
 * @param {AbortSignal} signal Stops following.
 * @param {Listener} listener
 */
export async function follow(name, signal, listener) {
  let asks = 0;
  while (!signal.aborted) {
    await seen(signal);
    try {
      if (performance.now() < asks) {
        await ask(name, signal, listener);
        listener.away(false);
        await pause(LOOK_MS, signal);
      } else if (await stream(name, signal, listener)) {
        return;
      } else {
        await pause(RECONNECT_MS, signal);
      }
    } catch (error) {
      if (signal.aborted) return;
      const status = error instanceof Problem ? error.status : -1;
      // The service would refuse it again.
      if (status === 401 || status === 403) return;
      if (status === 404 && (await isGone(name, signal))) {
        listener.deleted();
        return;
      }
      listener.away(status === 0);
      // If the service is unreachable, its stream is tried again; if it provides no stream, the page polls.
      if (status !== 0) asks = performance.now() + WITHOUT_MS;
      await pause(RECONNECT_MS, signal);
    }
  }
}

/**
 * @param {string} name
 * @param {AbortSignal} signal
 * @param {Listener} listener
 * @returns {Promise<boolean>} Whether the family was deleted.
 */
async function stream(name, signal, listener) {
  const end = new AbortController();
  const stop = () => end.abort();
  const hide = () => document.hidden && stop();
  signal.addEventListener("abort", stop);
  document.addEventListener("visibilitychange", hide);
  let [late, begun] = [false, false];
  const first = setTimeout(() => { late = true; stop(); }, FIRST_MS);
  try {
    for await (const { kind, data } of events(familyPath(name, "/events"), end.signal)) {
      clearTimeout(first);
      begun = true;
      if (signal.aborted) return false;
      listener.away(false);
      if (kind === "family") listener.standing(data);
      else if (kind === "refit") listener.refit(data);
      else if (kind === "deleted") {
        listener.deleted();
        return true;
      }
    }
  } catch (error) {
    // A stream that breaks off, for example because the service stops, is opened again.
    if (!begun && (!end.signal.aborted || late)) throw error;
  } finally {
    clearTimeout(first);
    signal.removeEventListener("abort", stop);
    document.removeEventListener("visibilitychange", hide);
  }
  return false;
}

/** @param {string} name @param {AbortSignal} signal @param {Listener} listener */
async function ask(name, signal, listener) {
  const [family, refits] = await Promise.all([
    get(familyPath(name), {}, signal),
    get(familyPath(name, "/refits"), { limit: NEWEST }, signal),
  ]);
  if (signal.aborted) return;
  const { updated_at, active_law, pinned } = family;
  const laws = [active_law, ...refits.items.map((/** @type {any} */ refit) => refit.law)].filter(Boolean);
  listener.standing({ updated_at, active_law, pinned, newest_law: laws.length > 0 ? Math.max(...laws.map(({ version }) => version)) : null, runs: null });
  for (const refit of refits.items.reverse()) listener.refit(refit);
}

/** @param {string} name @param {AbortSignal} signal @returns {Promise<boolean>} */
async function isGone(name, signal) {
  return get(familyPath(name), {}, signal).then(() => false, (error) => error instanceof Problem && error.status === 404);
}

/** @param {AbortSignal} signal @returns {Promise<void>} Resolves when the page is visible. */
function seen(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}

/**
 * The API key of this browser: stored, shared between the tabs of the page, and forgotten.
 *
 * By default the key is in the session storage of each tab, which ends with the tab. Tabs pass it on to each other, so
 * the user enters it only once. If it is to be kept on the device, it is in the local storage until the user logs out.
 *
 * @module key
 */

/** The path is part of the name: another service may run below another path of the same host, with another key. */
const name = () => `sparsity-planner-key ${new URL(".", document.baseURI).pathname}`;
/** How long other tabs may take to send the key. */
const TOLD_MS = 250;

/** @returns {string | null} */
export function key() {
  return sessionStorage.getItem(name()) ?? localStorage.getItem(name());
}

/** @returns {boolean} Whether the key outlasts the tab. */
export function isKept() {
  return localStorage.getItem(name()) !== null;
}

function remove() {
  sessionStorage.removeItem(name());
  localStorage.removeItem(name());
}

/** @param {string} given @param {boolean} keep */
function put(given, keep) {
  remove();
  (keep ? localStorage : sessionStorage).setItem(name(), given);
}

/** @type {Set<() => void>} */
const told = new Set();

/** Channel to the other tabs of the page: that a key is wanted, which one it is, that another was given, and that it was forgotten. @type {BroadcastChannel} */
let others;
let hadKey = false;

/** Listens to messages of other tabs about the key. Called once, before anything else here but `key`. */
export function hearOtherTabs() {
  others = new BroadcastChannel(name());
  others.addEventListener("message", ({ data }) => {
    const mine = sessionStorage.getItem(name());
    if (data.kind === "wanted" && mine) others.postMessage({ kind: "is", key: mine });
    else if (data.kind === "given" || (data.kind === "is" && !key())) {
      // Another process's write to the local storage may become visible here later than its message.
      put(data.key, data.keep === true);
      told.forEach((listener) => listener());
      dispatchEvent(new Event("keychange"));
    } else if (data.kind === "forgotten") {
      remove();
      location.reload();
    }
  });
  // After a logout, going back in the history must not show the page as it was.
  addEventListener("pagehide", () => { hadKey = key() !== null; });
  addEventListener("pageshow", ({ persisted }) => { if (persisted && hadKey && key() === null) location.reload(); });
}

/**
 * Waits for a moment whether another tab has a key.
 *
 * @param {string | null} refused The key that the service refused, which does not count.
 * @returns {Promise<boolean>} Whether there is a key now.
 */
export async function fromOtherTabs(refused) {
  if (key() !== refused) return key() !== null;
  if (refused !== null) return false;
  others.postMessage({ kind: "wanted" });
  await new Promise((resolve) => {
    const end = () => {
      told.delete(end);
      clearTimeout(timer);
      resolve(undefined);
    };
    const timer = setTimeout(end, TOLD_MS);
    told.add(end);
  });
  return key() !== null;
}

/** @param {() => void} listener Called when another tab has sent the key. @returns {() => void} Removes the listener. */
export function whenTold(listener) {
  told.add(listener);
  return () => told.delete(listener);
}

/**
 * Uses a key from now on, in all tabs. Dispatches `keychange` on the window.
 *
 * @param {string} given
 * @param {boolean} keep Whether the key outlasts the tabs.
 */
export function use(given, keep) {
  put(given, keep);
  others.postMessage({ kind: "given", key: given, keep });
  dispatchEvent(new Event("keychange"));
}

/** Forgets the key in all tabs, together with everything that was loaded with it. */
export function forget() {
  remove();
  others.postMessage({ kind: "forgotten" });
  // Loads the page again instead of showing another view, so that nothing loaded with the key remains.
  location.replace(new URL("./", document.baseURI));
}

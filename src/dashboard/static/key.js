/**
 * The API key of this browser: where it is kept, shared by the tabs of the page, and forgotten.
 *
 * Unless somebody wants it kept, a key is in the session storage of each tab, which ends with the tab. Tabs tell it each
 * other, so that it is asked for once. Kept on the device it is in the local storage, until somebody logs out.
 *
 * @module key
 */

/** Another service may stand below another path of the same host: its key is another. */
const name = () => `sparsity-planner-key ${new URL(".", document.baseURI).pathname}`;
/** How long other tabs may take to say the key. */
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

/** Other tabs of the page. They say that they want a key, which it is, that another was given, and that it is forgotten. @type {BroadcastChannel} */
let others;
let hadKey = false;

/** Listens to what other tabs say of the key. Called once, before anything else here but `key`. */
export function hearOtherTabs() {
  others = new BroadcastChannel(name());
  others.addEventListener("message", ({ data }) => {
    const mine = sessionStorage.getItem(name());
    if (data.kind === "wanted" && mine) others.postMessage({ kind: "is", key: mine });
    else if (data.kind === "given" || (data.kind === "is" && !key())) {
      // What another process has written into the local storage may be there later than what it says.
      put(data.key, data.keep === true);
      told.forEach((listener) => listener());
      dispatchEvent(new Event("keychange"));
    } else if (data.kind === "forgotten") {
      remove();
      location.reload();
    }
  });
  // Whoever goes back to the page after somebody logged out must not see what it was.
  addEventListener("pagehide", () => { hadKey = key() !== null; });
  addEventListener("pageshow", ({ persisted }) => { if (persisted && hadKey && key() === null) location.reload(); });
}

/**
 * Waits a moment for another tab that has a key.
 *
 * @param {string | null} refused The key that the service did not accept, which is none.
 * @returns {Promise<boolean>} Whether there is one now.
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

/** @param {() => void} listener Called when another tab has said the key. @returns {() => void} Ends that. */
export function whenTold(listener) {
  told.add(listener);
  return () => told.delete(listener);
}

/**
 * Uses a key from now on, in all tabs. Where the key is another the window is told, as `keychange`.
 *
 * @param {string} given
 * @param {boolean} keep Whether it outlasts the tabs.
 */
export function use(given, keep) {
  put(given, keep);
  others.postMessage({ kind: "given", key: given, keep });
  dispatchEvent(new Event("keychange"));
}

/** Forgets the key in all tabs, and what they show, which it was shown to. */
export function forget() {
  remove();
  others.postMessage({ kind: "forgotten" });
  // Anew, and not only another view: nothing that was loaded with the key is left.
  location.replace(new URL("./", document.baseURI));
}

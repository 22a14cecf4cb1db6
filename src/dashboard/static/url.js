/**
 * What is looked at, in the address: a view can be shared.
 *
 * @module url
 */

/** @returns {URLSearchParams} What the address says. */
export function params() {
  return new URLSearchParams(location.search);
}

/**
 * The address with some parameters changed.
 *
 * @param {Record<string, string | number | null | undefined>} patch Null, undefined and "" remove one.
 * @param {URLSearchParams} [from] What is kept; everything unless said otherwise.
 * @returns {string}
 */
export function address(patch, from = params()) {
  const next = new URLSearchParams(from);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null || value === undefined || value === "") next.delete(name);
    else next.set(name, String(value));
  }
  const query = next.toString();
  // Relative: the service may stand below a path of a proxy.
  return query ? `./?${query}` : "./";
}

/**
 * Notes what is looked at, without a new entry in the history.
 *
 * @param {Record<string, string | number | null | undefined>} patch
 */
export function note(patch) {
  history.replaceState(null, "", address(patch));
}

/**
 * Goes to another view.
 *
 * @param {string} to
 */
export function go(to) {
  history.pushState(null, "", to);
  dispatchEvent(new PopStateEvent("popstate"));
}

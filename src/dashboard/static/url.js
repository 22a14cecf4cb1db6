/**
 * The state of the page in its address, so that a view can be shared.
 *
 * @module url
 */

/** @returns {URLSearchParams} Parameters of the address. */
export function params() {
  return new URLSearchParams(location.search);
}

/**
 * The address with some parameters changed.
 *
 * @param {Record<string, string | number | null | undefined>} patch Null, undefined and "" remove a parameter.
 * @param {URLSearchParams} [from] Parameters to start from; by default the present ones.
 * @returns {string}
 */
export function address(patch, from = params()) {
  const next = new URLSearchParams(from);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null || value === undefined || value === "") next.delete(name);
    else next.set(name, String(value));
  }
  const query = next.toString();
  // Relative, as a proxy may expose the service under a path prefix.
  return query ? `./?${query}` : "./";
}

/**
 * Records the state of the page in the address, without a new entry in the history.
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

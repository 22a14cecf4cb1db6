/**
 * Places of values in a picture, and finding the value near a place. Pure functions.
 *
 * @module scales
 */

/**
 * @typedef {object} Scale
 * @property {(value: number) => number} share Position along the axis: 0 to 1 within it, other numbers outside.
 * @property {(share: number) => number} value
 */

/**
 * @typedef {object} Geometry
 * @property {Scale} x
 * @property {Scale} y
 * @property {(share: [number, number]) => [number, number]} at Place in units of the picture, with y pointing down.
 * @property {(at: [number, number]) => [number, number]} share
 * @property {(at: [number, number]) => boolean} holds Whether a place is within the axes.
 * @property {(at: [number, number]) => [number, number]} within The place itself, or the nearest one within the axes.
 */

/** @typedef {{series: number, index: number, x: number, y: number, at: [number, number], lines: string[]}} Spot A selected value; a series of -1 means none. */

/** @typedef {{places: [number, number][], points: [number, number][], line: boolean, geometry: Geometry}[]} Paths */

/** Conversion between values and places, for each kind of axis of the service. @type {Record<string, {place: (value: number) => number, value: (place: number) => number}>} */
const KINDS = {
  linear: { place: (value) => value, value: (place) => place },
  log: { place: Math.log10, value: (place) => 10 ** place },
  density: { place: (value) => -Math.log1p(-value), value: (place) => -Math.expm1(-place) },
};

/**
 * @param {string} description Kind of scale, and places of its ends: `log 6 9.5`.
 * @returns {Scale}
 */
export function scaleOf(description) {
  const [kind, from, to] = description.split(" ");
  const { place, value } = KINDS[kind];
  const [low, high] = [Number(from), Number(to)];
  return { share: (given) => (place(given) - low) / (high - low), value: (share) => value(low + share * (high - low)) };
}

/** @param {string} kind @param {number} value @returns {number} Place of a value on an axis of this kind. */
export const placeOn = (kind, value) => KINDS[kind].place(value);
/** @param {string} kind @param {number} place @returns {number} */
export const valueOn = (kind, place) => KINDS[kind].value(place);

/** @param {Element} svg With the attributes that the service writes. @returns {Geometry | null} Null if it has no axes. */
export function geometryOf(svg) {
  const [area, across, up] = ["data-plot", "data-x", "data-y"].map((name) => svg.getAttribute(name));
  if (!area || !across || !up) return null;
  return geometry(area, across, up);
}

/** @param {string} area @param {string} across @param {string} up @returns {Geometry} */
export function geometry(area, across, up) {
  const [left, top, width, height] = area.split(" ").map(Number);
  return {
    x: scaleOf(across),
    y: scaleOf(up),
    at: ([x, y]) => [left + x * width, top + (1 - y) * height],
    share: ([x, y]) => [(x - left) / width, 1 - (y - top) / height],
    holds: ([x, y]) => x >= left && x <= left + width && y >= top && y <= top + height,
    within: ([x, y]) => [Math.min(Math.max(x, left), left + width), Math.min(Math.max(y, top), top + height)],
  };
}

/**
 * The visible range after a zoom.
 *
 * @param {Geometry} geometry The present geometry.
 * @param {[number, number]} x New ends as shares of the present axis.
 * @param {[number, number]} y
 * @returns {import("./plots.js").Window}
 */
export function zoomed(geometry, x, y) {
  const ends = (/** @type {Scale} */ scale, /** @type {[number, number]} */ shares) => /** @type {[number, number]} */ (shares.map(scale.value));
  return { x: ends(geometry.x, x), y: ends(geometry.y, y) };
}

/** @param {Geometry} geometry @param {import("./plots.js").Series[]} series @returns {Paths} */
export function pathsOf(geometry, series) {
  return series.map(({ points, line }) => ({
    points,
    line: Boolean(line),
    geometry,
    places: points.map(([x, y]) => geometry.at([geometry.x.share(x), geometry.y.share(y)])),
  }));
}

/** Within this distance, in units of the picture, a mark takes precedence over a line below it. */
const ON_MARK = 10;

/**
 * The visible value nearest to a place.
 *
 * @param {Paths} paths
 * @param {Geometry} geometry
 * @param {[number, number]} at
 * @param {number} most Largest distance, in units of the picture.
 * @returns {Spot | null}
 */
export function nearest(paths, geometry, at, most) {
  /** @type {Spot | null} */
  let found = null;
  let best = most;
  for (const lines of [false, true]) {
    for (const [series, path] of paths.entries()) {
      if (path.line !== lines) continue;
      const { places } = path;
      for (let i = 0; i < places.length; i += 1) {
        let place = places[i];
        let distance = Math.hypot(place[0] - at[0], place[1] - at[1]);
        if (lines && i + 1 < places.length) {
          place = foot(place, places[i + 1], at);
          distance = Math.hypot(place[0] - at[0], place[1] - at[1]);
        }
        if (distance >= best || !geometry.holds(place)) continue;
        best = distance;
        const share = geometry.share(place);
        const [x, y] = lines ? [geometry.x.value(share[0]), geometry.y.value(share[1])] : path.points[i];
        found = { series, index: i, x, y, at: place, lines: [] };
      }
    }
    if (found && best <= ON_MARK) return found;
  }
  return found;
}

/** @param {[number, number]} a @param {[number, number]} b @param {[number, number]} p @returns {[number, number]} The place between a and b that is nearest to p. */
function foot(a, b, p) {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = dx * dx + dy * dy;
  const share = length > 0 ? Math.min(1, Math.max(0, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length)) : 0;
  return [a[0] + share * dx, a[1] + share * dy];
}

/**
 * The value that a key selects: left and right move along a series, up and down to another one.
 *
 * @param {Paths} paths
 * @param {Spot | null} from
 * @param {string} key
 * @returns {Spot | null}
 */
export function neighbour(paths, from, key) {
  const seen = paths.map((path, series) => ({ series, path, order: path.places.map((_, i) => i).filter((i) => path.geometry.holds(path.places[i])).sort((a, b) => path.places[a][0] - path.places[b][0]) })).filter(({ order }) => order.length > 0);
  if (seen.length === 0) return null;
  const spot = (/** @type {typeof seen[number]} */ one, /** @type {number} */ index) => {
    const [x, y] = one.path.points[index];
    return { series: one.series, index, x, y, at: one.path.places[index], lines: [] };
  };
  const current = from ? seen.findIndex(({ series }) => series === from.series) : -1;
  if (!from || current < 0) return spot(seen[0], seen[0].order[key === "End" ? seen[0].order.length - 1 : 0]);
  const one = seen[current];
  const place = one.order.reduce((best, index, i) => (Math.abs(one.path.places[index][0] - from.at[0]) < Math.abs(one.path.places[one.order[best]][0] - from.at[0]) ? i : best), 0);
  const here = Math.max(0, one.order.includes(from.index) ? one.order.indexOf(from.index) : place);
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const next = here + (key === "ArrowRight" ? 1 : -1);
    return spot(one, one.order[Math.min(one.order.length - 1, Math.max(0, next))]);
  }
  if (key === "Home" || key === "End") return spot(one, one.order[key === "Home" ? 0 : one.order.length - 1]);
  const other = seen[(current + (key === "ArrowDown" ? 1 : seen.length - 1)) % seen.length];
  const near = other.order.reduce((best, index) => (Math.abs(other.path.places[index][0] - from.at[0]) < Math.abs(other.path.places[best][0] - from.at[0]) ? index : best), other.order[0]);
  return spot(other, near);
}

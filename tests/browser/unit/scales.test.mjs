import assert from "node:assert/strict";
import { test } from "node:test";

import { geometry, nearest, neighbour, pathsOf, scaleOf, zoomed } from "../../../src/dashboard/static/scales.js";

const close = (/** @type {number} */ a, /** @type {number} */ b) => assert.ok(Math.abs(a - b) < 1e-9 * Math.max(1, Math.abs(b)), `${a} is not ${b}`);

test("values lie where the service says, and are found there", () => {
  for (const [description, value, share] of /** @type {const} */ ([["log 6 9", 1e8, 2 / 3], ["linear -1 3", 0, 0.25], [`density 0 ${Math.log(16)}`, 0.75, 0.5]])) {
    const scale = scaleOf(description);
    close(scale.share(value), share);
    close(scale.value(share), value);
  }
});

test("what is near is found: a mark before the line that it lies on, and nothing far away or beyond the axes", () => {
  const on = geometry("10 20 100 200", "linear 0 10", "linear 0 10");
  const say = () => [];
  const paths = pathsOf(on, [
    { name: "line", line: true, points: [[0, 0], [10, 10]], say },
    { name: "marks", points: [[5, 5], [50, 50]], say },
  ]);
  assert.deepEqual(on.at([0.5, 0.5]), [60, 120]);
  const mark = nearest(paths, on, [62, 118], 24);
  assert.deepEqual([mark?.series, mark?.index], [1, 0]);
  const line = nearest(paths, on, [35, 170], 24);
  assert.equal(line?.series, 0);
  close(line?.x ?? 0, 2.5);
  close(line?.y ?? 0, 2.5);
  assert.equal(nearest(paths, on, [100, 210], 24), null);
});

test("keys go along a series, and to another", () => {
  const on = geometry("0 0 100 100", "linear 0 10", "linear 0 10");
  const paths = pathsOf(on, [
    { name: "a", points: [[5, 1], [1, 1], [99, 1]], say: () => [] },
    { name: "b", points: [[4, 2]], say: () => [] },
  ]);
  const first = neighbour(paths, null, "ArrowRight");
  assert.deepEqual([first?.series, first?.x], [0, 1]);
  const next = neighbour(paths, first, "ArrowRight");
  assert.equal(next?.x, 5);
  // What is not seen is not gone to.
  assert.equal(neighbour(paths, next, "ArrowRight")?.x, 5);
  assert.equal(neighbour(paths, next, "ArrowDown")?.series, 1);
  assert.equal(neighbour([], null, "Home"), null);
});

test("a zoom is by places, so a logarithmic axis keeps its middle", () => {
  const on = geometry("0 0 100 100", "log 6 10", "linear 0 8");
  const shown = zoomed(on, [0.25, 0.75], [0.25, 0.75]);
  close(Math.log10(shown.x?.[0] ?? 0), 7);
  close(Math.log10(shown.x?.[1] ?? 0), 9);
  assert.deepEqual(shown.y, [2, 6]);
});

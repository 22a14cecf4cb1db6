/** What the forms of hardware profiles, suggestions and uploads read, and the curve that is drawn. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { stepCost } from "../../../src/dashboard/static/figures.js";
import { parsePatterns, parsePoints } from "../../../src/dashboard/static/views/hardware.js";
import { parseValues } from "../../../src/dashboard/static/views/suggestions.js";
import { contentByName } from "../../../src/dashboard/static/views/upload.js";
import { parseFraction } from "../../../src/dashboard/static/numbers.js";

test("points are read line by line", () => {
  assert.deepEqual(parsePoints("0.5 0.8\n\n 75 %, 0.55\n0.9;0.4 "), [[0.5, 0.8], [0.75, 0.55], [0.9, 0.4]]);
  for (const wrong of ["0.5", "0.5 x", "0.5 0.8 0.9", "half 0.8"]) assert.throws(() => parsePoints(wrong), /is no point/);
});

test("patterns may have a cost", () => {
  assert.deepEqual(parsePatterns("2:4 0.7\n1:4"), { patterns: ["2:4", "1:4"], pattern_costs: { "2:4": 0.7 } });
  for (const wrong of ["2:4 x", "2:4 0.7 1"]) assert.throws(() => parsePatterns(wrong), /is no pattern/);
});

test("values are a list or a range", () => {
  assert.equal(parseValues("  "), undefined);
  assert.deepEqual(parseValues("1M, 2e7; 1B"), [1e6, 2e7, 1e9]);
  assert.deepEqual(parseValues("1M to 1B in 7"), { from: 1e6, to: 1e9, steps: 7 });
  assert.deepEqual(parseValues("0, 50%, 0.75", parseFraction), [0, 0.5, 0.75]);
  assert.throws(() => parseValues("1M, x"), /“x” is no number/);
});

test("the curve is what the service computes", () => {
  const share = stepCost({ prunable_share: 0.9, efficiency: 0.7 });
  assert.deepEqual([0, 0.3, 0.65].map((s) => Number(share(s).toFixed(12))), [1, 1, 0.55]);
  const points = stepCost({ points: [[0.5, 0.8], [0.9, 0.4]] });
  assert.deepEqual([0, 0.25, 0.5, 0.7, 0.9, 0.99].map((s) => Number(points(s).toFixed(12))), [1, 0.9, 0.8, 0.6, 0.4, 0.4]);
});

test("a file's name says its format and its coding", () => {
  assert.deepEqual(contentByName("runs.CSV"), { format: "text/csv", coding: null });
  assert.deepEqual(contentByName("a.b.tsv.gz"), { format: "text/csv", coding: "gzip" });
  assert.deepEqual(contentByName("runs.jsonl.zst"), { format: "application/x-ndjson", coding: "zstd" });
  assert.deepEqual(contentByName("runs.json"), { format: "application/json", coding: null });
  assert.deepEqual(contentByName("runs.parquet"), { format: "application/vnd.apache.parquet", coding: null });
  assert.deepEqual(contentByName("csv"), { format: null, coding: null });
  assert.deepEqual(contentByName("runs.xlsx"), { format: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", coding: null });
  assert.deepEqual(contentByName("runs.feather"), { format: "application/vnd.apache.arrow.stream", coding: null });
  assert.deepEqual(contentByName("runs.xls"), { format: null, coding: null });
});

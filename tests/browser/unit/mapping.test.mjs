import assert from "node:assert/strict";
import { test } from "node:test";

import { guessMapping, mapRows } from "../../../src/dashboard/static/mapping.js";

const table = (columns, ...rows) => ({ columns, rows });

test("columns are found by the names that tools give them", () => {
  const mapping = guessMapping(table(["Name", "config.total_params", "config.sparsity_pct", "summary.tokens", "metrics.val_loss", "tags.team", "config.lr"], ["a", "2e6", "50", "1e9", "3", "x", "1e-3"]), "sweep.csv");
  assert.deepEqual(mapping.columns, { external_id: "Name", size: "config.total_params", sparsity: "config.sparsity_pct", data: "summary.tokens", loss: "metrics.val_loss", start: null, pretraining_data: null, pattern: null });
  assert.equal(mapping.size, "total_params");
  assert.equal(mapping.sparsity, "percent");
  assert.deepEqual(mapping.tags, ["tags.team"]);
});

test("the API's own names need no help", () => {
  const columns = ["external_id", "nonzero_params", "sparsity", "data", "loss", "start", "pretraining_data", "pattern"];
  const rows = table(columns, ["a", "1e6", "0.5", "1e9", "3", "pretrained", "1e8", "2:4"]);
  const { runs, errors } = mapRows(rows, guessMapping(rows, "a.csv"));
  assert.deepEqual(errors, []);
  assert.deepEqual(runs, [{ row: 1, run: { external_id: "a", nonzero_params: 1e6, sparsity: 0.5, data: 1e9, loss: 3, start: "pretrained", pretraining_data: 1e8, pattern: "2:4" } }]);
});

test("percent, densities, factors, tags and numbered rows", () => {
  const rows = table(["scale", "density", "steps", "loss", "tags.team"], [2, 0.1, 1000, 3, "x"]);
  const mapping = guessMapping(rows, "sweep.csv");
  mapping.factors = { size: 1e6, data: 65536 };
  const { runs, errors } = mapRows(rows, mapping);
  assert.deepEqual(errors, []);
  assert.deepEqual(runs[0].run, { external_id: "sweep-1", total_params: 2e6, sparsity: 0.9, data: 65536000, loss: 3, tags: { team: "x" } });
});

test("errors are told by row and field", () => {
  const columns = ["id", "nonzero_params", "sparsity", "data", "loss"];
  const rows = table(columns, ["a", "1e6", "0.5", "1e9", "3"], ["a", "0", "1", "", "-1"], ["b", "x", "0", "1e9", "1"]);
  const mapping = { ...guessMapping(rows, "a.csv"), sparsity: "fraction" };
  const { runs, errors } = mapRows(rows, mapping);
  assert.deepEqual(runs.map(({ row }) => row), [1]);
  assert.deepEqual(errors.map(({ row, field }) => `${row} ${field}`), ["2 sparsity", "2 nonzero_params", "2 data", "2 loss", "2 external_id", "3 nonzero_params"]);
});

test("what only some runs may say is checked too", () => {
  const columns = ["id", "nonzero_params", "sparsity", "data", "loss", "start", "pretraining_data", "pattern"];
  const rows = table(columns, ["a", "1e6", "0", "1e9", "3", "warm", "", ""], ["b", "1e6", "0", "1e9", "3", "", "1e8", "4:2"], ["c\u0000", "1e6", "0", "1e9", "3", "scratch", "", "none"]);
  const { errors } = mapRows(rows, guessMapping(rows, "a.csv"));
  assert.deepEqual(errors.map(({ row, field }) => `${row} ${field}`), ["1 start", "2 pretraining_data", "2 pattern", "3 external_id"]);
});

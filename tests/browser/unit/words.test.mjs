import assert from "node:assert/strict";
import { test } from "node:test";

import { extrapolation, meaning } from "../../../src/dashboard/static/words.js";

const interval = { level: 0.95, low: 0.45, high: 0.58 };

const trust = { level: "good", because: [] };

test("an answer is said in a sentence", () => {
  assert.equal(meaning({ trust, chinchilla_ratio: 1.8, sparsity: 0.52, interval }), "Train 1.8× longer than Chinchilla: 52\u00a0% sparse, 45–58\u00a0%.");
  assert.equal(meaning({ trust, chinchilla_ratio: 1.01, sparsity: 0.52 }), "Train about as long as Chinchilla: 52\u00a0% sparse.");
  assert.equal(meaning({ trust, chinchilla_ratio: 0.5, sparsity: 0, interval: { low: 0, high: 0 } }), "Train 0.5× as long as Chinchilla: dense is best, zeros do not lower the loss.");
  assert.equal(meaning({ trust, chinchilla_ratio: 0.8, sparsity: 0, interval: { low: 0, high: 0.12 } }), "Train 0.8× as long as Chinchilla: dense is best, zeros do not lower the loss; up to 12\u00a0% sparse is within the interval.");
});

test("what is to be done is said only where the answer can be trusted", () => {
  const weak = { level: "weak", because: ["wide_interval"] };
  assert.equal(meaning({ trust: weak, chinchilla_ratio: 1.8, sparsity: 0.52, interval }), "Probably best, trained 1.8× longer than Chinchilla: 52\u00a0% sparse, 45–58\u00a0%.");
  assert.equal(meaning({ trust: weak, chinchilla_ratio: 1, sparsity: 0 }), "Probably best, trained about as long as Chinchilla: dense, zeros do not lower the loss.");
  const none = { level: "none", because: ["not_identified"] };
  assert.equal(meaning({ trust: none, chinchilla_ratio: 1e9, sparsity: 0.52, interval: { low: 0.03, high: 0.97 } }), "The runs do not settle what is best. The law's guess is 52\u00a0% sparse; anything from 3\u00a0% to 97.0\u00a0% could be.");
  assert.equal(meaning({ trust: none, chinchilla_ratio: 1, sparsity: 0 }), "The runs do not settle what is best. The law's guess is a dense model.");
});

test("where the data stop is said in words", () => {
  assert.equal(extrapolation({ variable: "data", factor: 2.4, limit: 6.55e10, side: "above" }), "data: 2.4× beyond the largest of the runs (65.5B)");
  assert.equal(extrapolation({ variable: "compute", factor: 3, limit: 1e18, side: "below" }), "compute: 3× below the smallest of the runs (1\u00a0EFLOP)");
  assert.match(extrapolation({ variable: "sparsity", factor: 2, limit: 0.875, side: "above" }), /sparser than any run \(87\.5\s%\)/);
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { formatAge, formatBytes, formatCount, formatFlops, formatInterval, formatLevel, formatLoss, formatNumber, formatPercent, formatTimes, formatWhole, parseFraction, parseNumber, plural } from "../../../src/dashboard/static/numbers.js";

test("numbers are read as people write them", () => {
  const cases = {
    "70M": 7e7, "1e21": 1e21, "1E21": 1e21, "3 EFLOP": 3e18, "3EFLOPs": 3e18, "2.5 zflop": 2.5e21, "1.2B": 1.2e9, "0.5T": 5e11, "84,934,656": 84934656,
    "84 934 656": 84934656, "84_934_656": 84934656, "100 million": 1e8, "12 PF-days": 12 * 8.64e19, "2 PFLOP/s-days": 1.728e20, "200 MB": 2e8, "2 GiB": 2 ** 31,
    ".5": 0.5, "5.": 5, "-3": -3, "30B tokens": 3e10, "10k": 1e4, "75%": 0.75, "1 exaflop": 1e18, "7e9 params": 7e9,
  };
  for (const [text, value] of Object.entries(cases)) {
    assert.ok(Math.abs(parseNumber(text) - value) <= 1e-12 * Math.abs(value), `${text}: ${parseNumber(text)}`);
  }
});

test("what is no number is none", () => {
  for (const text of ["", "M", "seventy", "1.2.3", "1,5e21", "12,34", "1e", "70 Mx", "NaN", "Infinity", "0x10", "1 2"]) {
    assert.ok(Number.isNaN(parseNumber(text)), `${text}: ${parseNumber(text)}`);
  }
});

test("a fraction may be given in percent", () => {
  assert.equal(parseFraction("0.75"), 0.75);
  assert.equal(parseFraction("75 %"), 0.75);
  assert.equal(parseFraction("75"), 0.75);
  assert.equal(parseFraction("0.5%"), 0.005);
  assert.equal(parseFraction("0"), 0);
});

test("numbers are written short", () => {
  assert.equal(formatCount(84934656), "84.9M");
  assert.equal(formatCount(1e8), "100M");
  assert.equal(formatCount(999_999), "1M");
  assert.equal(formatCount(3.2768e10), "32.8B");
  assert.equal(formatCount(1e18), "1e18");
  assert.equal(formatFlops(1e20), "100\u00a0EFLOP");
  assert.equal(formatFlops(3e18), "3\u00a0EFLOP");
  assert.equal(formatFlops(2.5e27), "2.5e27\u00a0FLOP");
  assert.equal(formatBytes(2e8), "200\u00a0MB");
  assert.equal(formatNumber(2.0512345), "2.051");
  assert.equal(formatNumber(0.0000122), "1.22e-5");
  assert.equal(formatNumber(0), "0");
  assert.equal(formatNumber(1234567), "1.235e6");
  assert.equal(formatLoss(1.7), "1.700");
  assert.equal(formatLoss(1e-5), "1e-5");
  assert.equal(formatTimes(1.8), "1.80×");
  assert.equal(formatTimes(22_600), "22,600×");
  assert.deepEqual([0, 999, 1000, 84_934_656, 1234.5678].map(formatWhole), ["0", "999", "1,000", "84,934,656", "1,234.5678"]);
  assert.equal(plural(1, "run"), "1 run");
  assert.equal(plural(1000, "run"), "1,000 runs");
});

test("percent have the digits that tell", () => {
  assert.equal(formatPercent(0.523), "52.3\u00a0%");
  assert.equal(formatPercent(0.523, 0), "52\u00a0%");
  assert.equal(formatPercent(0.95), "95.0\u00a0%");
  assert.equal(formatPercent(0.9995), "99.950\u00a0%");
  assert.equal(formatLevel(0.9995), "99.95\u00a0%");
  assert.equal(formatLevel(0.875), "87.5\u00a0%");
  assert.equal(formatLevel(0.5), "50\u00a0%");
  assert.equal(formatLevel(0), "0\u00a0%");
});

test("an interval names its unit once", () => {
  assert.equal(formatInterval({ low: 0.45, high: 0.58 }, (v) => formatPercent(v, 0)), "45–58\u00a0%");
  assert.equal(formatInterval({ low: 1e18, high: 2e18 }, formatFlops), "1–2\u00a0EFLOP");
  assert.equal(formatInterval({ low: 1e18, high: 2e21 }, formatFlops), "1\u00a0EFLOP–2\u00a0ZFLOP");
  assert.equal(formatInterval({ low: 1.8, high: 2 }, formatTimes), "1.80–2.00×");
  assert.equal(formatInterval(null, formatNumber), "");
  // So many decades are no numbers to act on, and never wider than their place.
  assert.equal(formatInterval({ low: 1.2e-9, high: 3.456e18 }, formatTimes), "<\u00a010⁻⁶–>\u00a010⁶×");
  assert.equal(formatInterval({ low: 2.1, high: 4.2e11 }, formatLoss), "2.100–>\u00a010⁶");
});

test("ages are in the largest unit", () => {
  const now = Date.parse("2026-03-01T12:00:00Z");
  assert.equal(formatAge("2026-03-01T11:59:30Z", now), "just now");
  assert.equal(formatAge("2026-03-01T11:58:00Z", now), "2 minutes ago");
  assert.equal(formatAge("2026-02-28T11:00:00Z", now), "1 day ago");
  assert.equal(formatAge("2026-03-01T13:00:00Z", now), "just now");
});

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { asCsv, asCurl, asPython } from "../../../src/dashboard/static/copy.js";
import { compareCells } from "../../../src/dashboard/static/dom.js";

const question = { method: /** @type {const} */ ("GET"), path: "/v1/families/demo/optimal-sparsity", query: { nonzero_params: 7e7, compute: 1e20, flop_mode: "it's", max_sparsity: null }, family: "demo", call: "optimal_sparsity" };

test("a question is copied as a command of a shell, without a key", () => {
  const command = asCurl(question, "http://127.0.0.1:8080", true);
  // The shell takes it apart as it was put together.
  const words = execFileSync("sh", ["-c", `curl() { printf '%s\\n' "$@"; }; ${command}`], { env: { SPARSITY_PLANNER_KEY: "secret" } }).toString().trim().split("\n");
  assert.deepEqual(words, ["-sS", "--fail-with-body", "-H", "Authorization: Bearer secret", "http://127.0.0.1:8080/v1/families/demo/optimal-sparsity?nonzero_params=70000000&compute=100000000000000000000&flop_mode=it%27s"]);
  const body = asCurl({ ...question, method: "POST", query: {}, body: { target: { coefficient: "b'd" }, grid: null } }, "http://x", false);
  const sent = execFileSync("sh", ["-c", `curl() { printf '%s\\n' "$@"; }; ${body}`]).toString().trim().split("\n");
  assert.deepEqual(sent.slice(2), ["-H", "Content-Type: application/json", "-d", '{"target":{"coefficient":"b\'d"}}', "http://x/v1/families/demo/optimal-sparsity"]);
});

test("a question is copied as Python", () => {
  assert.equal(asPython(question, "http://127.0.0.1:8080", false), 'from sparsity_planner import Planner\n\nfamily = Planner("http://127.0.0.1:8080").family("demo")\nprint(family.optimal_sparsity(nonzero_params=70000000, compute=100000000000000000000, flop_mode="it\'s"))'.replace("print(family.optimal_sparsity(nonzero_params=70000000, compute=100000000000000000000, flop_mode=\"it's\"))", "print(family.optimal_sparsity(\n    nonzero_params=70000000,\n    compute=100000000000000000000,\n    flop_mode=\"it's\",\n))"));
  const nested = asPython({ ...question, query: {}, body: { target: { prediction: { sparsity: 0.5 } }, grid: { sparsity: [0, 0.5] } }, call: "suggest" }, "http://x", true);
  assert.match(nested, /taken from SPARSITY_PLANNER_KEY/);
  assert.match(nested, /target=\{"prediction": \{"sparsity": 0\.5\}\}/);
  assert.match(nested, /grid=\{"sparsity": \[0, 0\.5\]\}/);
  assert.ok(!nested.includes("secret"));
  const law = asPython({ method: "GET", path: "/v1/families/demo/laws/2", named: { version: 2 }, family: "demo", call: "law" }, "http://x", false);
  assert.match(law, /family\.law\(version=2\)/);
});

test("runs are copied as a table with commas", () => {
  assert.equal(asCsv(["a", "b"], [[1e6, "x,\"y\""], [0.5, null]]), 'a,b\n1000000,"x,""y"""\n0.5,');
});

test("cells sort by what they say", () => {
  const cells = ["3 EFLOP", "84.9M", "1B", "52.1 % 45–58 %", "−0.5", "> 10⁶×", "none", "1,000", "a10", "a9"];
  assert.deepEqual([...cells].sort(compareCells), ["−0.5", "52.1 % 45–58 %", "1,000", "> 10⁶×", "84.9M", "1B", "3 EFLOP", "a9", "a10", "none"]);
});

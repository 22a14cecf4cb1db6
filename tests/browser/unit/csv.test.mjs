import assert from "node:assert/strict";
import { test } from "node:test";

import { parseCsv } from "../../../src/dashboard/static/csv.js";
import { readTable } from "../../../src/dashboard/static/tablefile.js";

test("plain records, whatever ends a line", () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    assert.deepEqual(parseCsv(["a,b", "1,2", ""].join(end)), [["a", "b"], ["1", "2"]]);
  }
});

test("quotes hold separators, quotes and line ends", () => {
  assert.deepEqual(parseCsv('a,"b, ""c""\nd",e\n'), [["a", 'b, "c"\nd', "e"]]);
  assert.deepEqual(parseCsv('"",""'), [["", ""]]);
});

test("empty fields stay, empty lines go", () => {
  assert.deepEqual(parseCsv("a,b,\n\n,,\n1,,"), [["a", "b", ""], ["", "", ""], ["1", "", ""]]);
});

test("a byte order mark is no part of a name", () => {
  assert.deepEqual(parseCsv("\uFEFFa,b"), [["a", "b"]]);
});

test("semicolons and tabs separate too", () => {
  assert.deepEqual(parseCsv("a;b\n1,5;2"), [["a", "b"], ["1,5", "2"]]);
  assert.deepEqual(parseCsv("a\tb\n1\t2"), [["a", "b"], ["1", "2"]]);
});

test("broken quotes are refused, naming the line", () => {
  assert.throws(() => parseCsv('a\n"b'), /line 2/);
  assert.throws(() => parseCsv('a\n"b"c'), /line 2/);
});

test("files of every kind become one kind of table", () => {
  const wanted = { columns: ["id", "config.n"], rows: [["x", 1]] };
  assert.deepEqual(readTable("runs.json", '[{"id": "x", "config": {"n": 1}}]'), wanted);
  assert.deepEqual(readTable("runs.ndjson", '{"id": "x", "config": {"n": 1}}\n'), wanted);
  assert.deepEqual(readTable("runs.csv", "id,config.n\nx,1\n"), { columns: ["id", "config.n"], rows: [["x", "1"]] });
  assert.deepEqual(readTable("runs.ndjson", '{"a": 1}\n\n{"b": null, "a": 2}\n').rows, [[1], [2]]);
});

test("files that cannot be read say why", () => {
  assert.throws(() => readTable("a.csv", "a,b\n1\n"), /row 1 has 1 fields/);
  assert.throws(() => readTable("a.csv", "a,a\n1,2\n"), /two columns/);
  assert.throws(() => readTable("a.csv", "a,b\n"), /no row/);
  assert.throws(() => readTable("a.csv", ""), /empty|no row/);
  assert.throws(() => readTable("a.ndjson", '{"a": 1}\n{"a"\n'), /line 2/);
  assert.throws(() => readTable("a.json", "[1]"), /entry 1/);
});

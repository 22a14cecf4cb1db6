#!/usr/bin/env bash
# orval 7.13.2 with its client `fetch`: an answer that the document declares as text is parsed as JSON.
#
# Seen: for an operation whose only answer is `text/csv` with a schema of type string, the generated function has the
# result type string, and calls JSON.parse on whatever body comes, so that it rejects with a SyntaxError. A body that
# happens to be JSON, such as one number, comes as a number where the type says string.
#
# Why it matters: exports as CSV and pictures as SVG cannot be had through such a client. A function of one's own for
# requests (`override.mutator`) that looks at the content type helps; orval 8.38.0 parses JSON alone, and wants Node 22.18.
#
# Ends with 0 while that is so, with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --prefix . orval@7.13.2 typescript@5.9.3 >/dev/null

cat >document.json <<'JSON'
{"openapi": "3.1.0", "info": {"title": "Exports", "version": "1"}, "paths": {"/export": {"get": {
  "operationId": "exportRuns",
  "responses": {"200": {"description": "A table", "content": {"text/csv": {"schema": {"type": "string"}}}}}
}}}}
JSON
cat >orval.config.cjs <<'JS'
module.exports = { exports: { input: "document.json", output: { target: "client.ts", client: "fetch", baseUrl: "http://127.0.0.1:8975" } } };
JS
node_modules/.bin/orval --config orval.config.cjs >/dev/null
grep -q "data: string" client.ts || exit 1
echo '{"type": "module"}' >package.json
node_modules/.bin/tsc --target es2022 --module es2022 --lib es2022,dom --skipLibCheck client.ts >/dev/null

cat >ask.mjs <<'JS'
import { createServer } from "node:http";
import { exportRuns } from "./client.js";

let body = "";
const server = createServer((_, answer) => answer.writeHead(200, { "content-type": "text/csv" }).end(body));
await new Promise((listening) => server.listen(8975, "127.0.0.1", listening));
body = "id,loss\na,2.5\n";
const table = await exportRuns().then((told) => typeof told.data, (error) => error.name);
body = "2.5";
const number = await exportRuns().then((told) => typeof told.data, (error) => error.name);
console.log(`a table in CSV: ${table}; a number in CSV: ${number}`);
server.closeAllConnections();
server.close();
process.exitCode = table === "SyntaxError" && number === "number" ? 0 : 1;
JS
node ask.mjs

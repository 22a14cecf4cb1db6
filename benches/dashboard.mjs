/**
 * What the dashboard's pictures cost a browser, and what they cost at another commit, side by side: one service, one family,
 * pages of both in turns. See dashboard.md.
 *
 *   BASE=http://127.0.0.1:8080 node benches/dashboard.mjs BEFORE [runs of the family] [repetitions]
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";

import { api, base, family, launch, synthetic } from "../tests/browser/support.mjs";

const [before, runs = "5000", repetitions = "5"] = process.argv.slice(2);
assert.ok(before, "names the commit to compare with");
const name = `measured-${runs}`;
const known = (await api("GET", "/v1/families?limit=1000")).items.some((/** @type {any} */ one) => one.name === name);
if (!known) {
  const all = synthetic(Number(runs), "sweep");
  await api("POST", "/v1/families", { name, data_unit: "tokens" });
  for (let i = 0; i < all.length; i += 1000) await api("POST", `/v1/families/${name}/runs`, all.slice(i, i + 1000));
  const { id } = await api("POST", `/v1/families/${name}/refits`, { bootstrap: 100, starts: 4 });
  while (!(await api("GET", `/v1/refits/${id}`)).finished_at) await new Promise((resolve) => setTimeout(resolve, 500));
}

const git = (/** @type {string[]} */ ...args) => execFileSync("git", args, { maxBuffer: 2 ** 26 });
const PREFIX = "src/dashboard/";
const old = new Map(git("ls-tree", "-r", "--name-only", before, PREFIX).toString().trim().split("\n").map((path) => [path.slice(PREFIX.length), path]));

/** @param {string} file Below `static`. @returns {Buffer | null} As it was. */
function asBefore(file) {
  const packed = old.get("plotly/plotly-basic.min.js.gz");
  if (file === "plotly.js" && packed) return gunzipSync(git("show", `${before}:${packed}`));
  const path = old.get(`static/${file}`);
  return path ? git("show", `${before}:${path}`) : null;
}

/** @param {Buffer[]} scripts @returns {number} */
const packed = (scripts) => scripts.reduce((sum, script) => sum + gzipSync(script, { level: 9 }).length, 0) / 1000;
const modules = [...old.keys()].filter((file) => file.startsWith("static/") && file.endsWith(".js")).map((file) => file.slice("static/".length));
const folder = new URL("../src/dashboard/static/", import.meta.url);
// What the page is drawn with: the other views come after the measurement.
const page = await (await fetch(base)).text();
const present = readdirSync(folder, { recursive: true }).map(String).filter((file) => file.endsWith(".js") && page.includes(`/${file}"`));
const script = {
  before: packed([...modules, ...(old.has("plotly/plotly-basic.min.js.gz") ? ["plotly.js"] : [])].map((file) => asBefore(file) ?? Buffer.alloc(0))),
  after: packed(present.map((file) => readFileSync(new URL(file, folder)))),
};

const browser = await launch();

/** @param {boolean} isBefore @returns {Promise<Record<string, number>>} */
async function once(isBefore) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 } });
  const page = await context.newPage();
  let requests = 0;
  if (isBefore) {
    await page.route("**/dashboard/*/**", (route) => {
      const file = new URL(route.request().url()).pathname.split("/").slice(3).join("/");
      const body = asBefore(file);
      // A module that there was not.
      const type = file.endsWith(".css") ? "text/css" : file.endsWith(".svg") ? "image/svg+xml" : "text/javascript";
      return route.fulfill({ body: body ?? "", contentType: type });
    });
  }
  page.on("response", (response) => { requests += Number(response.url().includes("/v1/")); });
  const debug = await context.newCDPSession(page);
  // Of the thread and not of the clock: what else the machine does is none of it.
  await debug.send("Performance.enable", { timeDomain: "threadTicks" });
  await page.goto(`${base}/?family=${name}`);
  // Asked by the debugger now and then: what a test's library puts into a page, and has it do at each frame, would count.
  const all = `(() => { const all = [...document.querySelectorAll("figure.picture")]; return all.length === 4 && all.every((one) => one.hasAttribute("data-drawn") && !one.hasAttribute("aria-busy")) ? performance.now() : 0; })()`;
  /** @type {number} */
  let drawn = 0;
  for (const end = Date.now() + 120_000; drawn === 0; ) {
    assert.ok(Date.now() < end, "the pictures are drawn");
    await new Promise((resolve) => setTimeout(resolve, 20));
    drawn = Number((await debug.send("Runtime.evaluate", { expression: all })).result.value);
  }
  const { metrics } = await debug.send("Performance.getMetrics");
  const metric = (/** @type {string} */ key) => 1000 * (metrics.find((one) => one.name === key)?.value ?? NaN);
  const nodes = metrics.find((one) => one.name === "Nodes")?.value ?? NaN;
  await context.close();
  return { "script, gzip kB": isBefore ? script.before : script.after, "main thread, ms": metric("TaskDuration"), "of it script, ms": metric("ScriptDuration"), "all drawn after, ms": drawn, "requests to the API": requests, "nodes of the document": nodes };
}

const found = { before: /** @type {Record<string, number>[]} */ ([]), after: /** @type {Record<string, number>[]} */ ([]) };
// The first of each warms the service.
await once(true);
await once(false);
for (let i = 0; i < Number(repetitions); i += 1) {
  found.before.push(await once(true));
  found.after.push(await once(false));
}
await browser.close();
const median = (/** @type {number[]} */ values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const rows = Object.keys(found.before[0]).map((key) => {
  const [was, is] = [found.before, found.after].map((all) => median(all.map((one) => one[key])));
  return `| ${key} | ${was.toFixed(0)} | ${is.toFixed(0)} | ${(is / was).toFixed(2)} |`;
});
process.stdout.write(`| median of ${repetitions}, ${runs} runs | before | after | ratio |\n|---|---|---|---|\n${rows.join("\n")}\n`);

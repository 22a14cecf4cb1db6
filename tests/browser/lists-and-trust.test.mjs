/**
 * Lists of families, tables, copying; and answers that cannot be trusted, which must look like it.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";

import { accessible, api, base, drawn, family, launch, open, shoot, synthetic } from "./support.mjs";

/** @type {import("playwright-core").Browser} */
let browser;

/** @param {string} text @returns {string} The text with the non-breaking spaces before units replaced by plain ones. */
const spaced = (text) => text.replaceAll("\u00a0", " ");

before(async () => { browser = await launch(); });
after(() => browser.close());

test("a thousand families are there in a second, with one request, and searched, sorted and filtered", async (t) => {
  const there = (await api("GET", "/v1/families?limit=1000")).items.length;
  for (let i = 0; i < 1000; i += 50) await Promise.all(Array.from({ length: 50 }, (_, j) => api("POST", "/v1/families", { name: `of-many-${String(i + j).padStart(4, "0")}`, data_unit: "images", description: `No. ${i + j} of many` })));
  t.after(async () => {
    for (let i = 0; i < 1000; i += 50) await Promise.all(Array.from({ length: 50 }, (_, j) => api("DELETE", `/v1/families/of-many-${String(i + j).padStart(4, "0")}`)));
  });
  const page = await open(t, browser);
  /** @type {string[]} */
  const requests = [];
  page.on("request", (request) => { if (request.url().includes("/v1/")) requests.push(request.url()); });
  await page.goto(base);
  await page.locator("main").getByText(`${(1000 + there).toLocaleString("en")} families`).waitFor();
  t.diagnostic(`families after ${(await page.evaluate(() => performance.getEntriesByName("families")[0].startTime)).toFixed(0)} ms`);
  // One request per page of a thousand families.
  assert.equal(requests.length, Math.ceil((1000 + there) / 1000), requests.join("\n"));
  await page.getByRole("searchbox").fill("of-many-0042");
  await page.locator("main").getByText(`1 of ${(1000 + there).toLocaleString("en")} families`).waitFor();
  assert.equal(await page.locator("tbody tr").count(), 1);
  assert.equal(new URL(page.url()).searchParams.get("q"), "of-many-0042");
  await page.getByRole("searchbox").fill("");
  await page.getByLabel("Show").selectOption("law");
  await page.getByRole("columnheader", { name: "Runs" }).getByRole("button").click();
  const runs = async () => (await page.locator("tbody tr td:nth-child(4)").allInnerTexts()).map((text) => Number(text.replace(",", ""))).filter(Number.isFinite);
  assert.deepEqual(await runs(), (await runs()).sort((a, b) => a - b));
  await page.getByRole("columnheader", { name: "Runs" }).getByRole("button").click();
  assert.equal(await page.getByRole("columnheader", { name: "Runs" }).getAttribute("aria-sort"), "descending");
  assert.deepEqual(await runs(), (await runs()).sort((a, b) => b - a));
  await accessible(page);
  await page.reload();
  assert.equal(await page.getByRole("columnheader", { name: "Runs" }).getAttribute("aria-sort"), "descending");
});

test("an answer that cannot be trusted looks worthless, and stays within its card", async (t) => {
  for (const [width, scheme] of /** @type {const} */ ([[390, "light"], [1440, "dark"], [2560, "light"]])) {
    const page = await open(t, browser, { width, scheme });
    await page.route("**/v1/families/demo/optimal-sparsity*", async (route) => {
      const response = await route.fetch();
      const answer = await response.json();
      const wide = { level: 0.95, low: 1.234e-12, high: 5.678e18 };
      answer.trust = { level: "none", because: ["not_identified", "wide_interval"] };
      Object.assign(answer, { chinchilla_ratio: 3.21e14, gain: 7.7e9, interval: { level: 0.95, low: 0.01, high: 0.97 } });
      answer.intervals = Object.fromEntries(Object.keys(answer.intervals).map((key) => [key, wide]));
      await route.fulfill({ response, json: answer });
    });
    await page.goto(`${base}/?family=demo&n=70M&c=1e20`);
    await drawn(page);
    const card = page.locator(".answer");
    // The reasons come first, nothing is recommended, and the number is not a headline.
    assert.match(await card.innerText(), /^trust: none\s+the runs do not determine every coefficient; the interval is wide/);
    assert.ok(!/\bTrain\b/.test(await card.innerText()));
    await card.getByText(/^The runs do not settle what is best\. The law's guess is .* could be\.$/).waitFor();
    assert.equal(await page.locator(".headline").isVisible(), false);
    await card.getByText("Its numbers all the same").click();
    assert.match(spaced(await card.innerText()), />\s10⁶×/);
    assert.ok(!/\d{9}/.test(await card.innerText()), "no number of many digits");
    const out = await card.evaluate((card) => [...card.querySelectorAll("*")].filter((node) => node.getBoundingClientRect().right > card.getBoundingClientRect().right + 1).map((node) => node.outerHTML.slice(0, 100)));
    assert.deepEqual(out, []);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${width} scrolls sideways`);
    await accessible(page);
    await shoot(page, `untrusted-${width}-${scheme}`);
  }
});

test("runs that determine nothing are said to, without a picture of nothing", async (t) => {
  await family("one-level", synthetic(20, "dense-only-sweep-with-a-long-name-that-has-no-room").map((run) => ({ ...run, sparsity: 0 })), { bootstrap: 100, starts: 4 });
  const page = await open(t, browser, { expected: /409 \(Conflict\)/ });
  await page.goto(`${base}/?family=one-level&n=70M&c=1e20`);
  await page.locator(".answer").getByRole("alert").waitFor();
  await page.locator(".answer").getByRole("link", { name: "What to run next" }).waitFor();
  await page.locator('[data-picture="contours"]').getByText("No picture without an answer.").waitFor();
  await page.locator('[data-picture="fit"][data-drawn]').waitFor();
  await accessible(page);
  await shoot(page, "undetermined");
  // A long name is cut in the middle, but complete for searching and copying.
  await page.goto(`${base}/?family=one-level&view=runs&q=0007`);
  const name = page.locator(".name", { hasText: "dense-only-sweep-with-a-long-name-that-has-no-room-0007" });
  await name.waitFor();
  assert.ok(await name.evaluate((node) => { const [start, end] = node.children; return start.scrollWidth > start.clientWidth && end.scrollWidth <= end.clientWidth + 1; }));
});

test("questions are copied as commands and as Python, suggestions as a table", async (t) => {
  const page = await open(t, browser);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const copied = () => page.evaluate(() => navigator.clipboard.readText());
  await page.goto(`${base}/?family=demo&n=70M&c=1e20`);
  await page.locator(".answer").getByRole("button", { name: "Copy as curl" }).click();
  await page.locator(".answer").getByText("copied").waitFor();
  const answer = JSON.parse(execFileSync("sh", ["-c", await copied()]).toString());
  assert.deepEqual(answer, await api("GET", "/v1/families/demo/optimal-sparsity?nonzero_params=7e7&compute=1e20&flop_mode=sparse"));
  await page.locator(".answer").getByRole("button", { name: "Copy as Python" }).click();
  await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith("from sparsity_planner"));
  assert.match(await copied(), /\.family\("demo"\)[\s\S]*optimal_sparsity\(\s+nonzero_params=70000000/);
  await page.goto(`${base}/?family=demo&view=next&n=50M&c=1e20&budget=1e20&runs=2`);
  await page.getByRole("table", { name: /To be made together/ }).waitFor();
  await page.getByRole("button", { name: "Copy as CSV" }).click();
  await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith("nonzero_params,"));
  assert.match(await copied(), /^nonzero_params,sparsity,data\n[\d.e+]+,[\d.]+,[\d.e+]+/);
  await page.getByRole("button", { name: "Copy as curl" }).click();
  await page.waitForFunction(async () => (await navigator.clipboard.readText()).startsWith("curl"));
  assert.ok(JSON.parse(execFileSync("sh", ["-c", await copied()]).toString()).suggestions.length > 0);
});

test("tables sort by a click", async (t) => {
  const page = await open(t, browser);
  await page.goto(`${base}/?family=demo&n=70M&c=1e20`);
  await drawn(page);
  const fit = page.locator('[data-picture="fit"]');
  await fit.getByText("Numbers of this picture").click();
  const measured = async () => (await fit.locator("tbody tr td:nth-child(3)").allInnerTexts()).map(Number);
  await fit.locator("tbody tr").first().waitFor();
  const given = await measured();
  const head = fit.getByRole("columnheader", { name: "Measured" });
  await head.getByRole("button").click();
  assert.equal(await head.getAttribute("aria-sort"), "ascending");
  assert.deepEqual(await measured(), [...given].sort((a, b) => a - b));
  await head.getByRole("button").click();
  assert.deepEqual(await measured(), [...given].sort((a, b) => b - a));
  await head.getByRole("button").click();
  assert.deepEqual([await head.getAttribute("aria-sort"), await measured()], [null, given]);
});

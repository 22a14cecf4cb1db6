/**
 * Opens the dashboard of a running demo in a browser. `run` sets BASE to its address.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

import { chromium } from "playwright-core";

/** @type {string} */
export const base = process.env.BASE ?? assert.fail("BASE names the service: see tests/browser/run");
const screenshots = process.env.SCREENSHOTS ?? "target/browser";
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** @returns {Promise<import("playwright-core").Browser>} A browser without features that contact other hosts. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

/**
 * A page in a new profile. The test fails if the page contacts another host or reports an error, except
 * for errors that match `expected`.
 *
 * @param {import("node:test").TestContext} t
 * @param {import("playwright-core").Browser} browser
 * @param {{width?: number, height?: number, scheme?: "light" | "dark", expected?: RegExp, motion?: "reduce"}} [options]
 * @returns {Promise<import("playwright-core").Page>}
 */
export async function open(t, browser, { width = 1440, height = 1000, scheme = "light", expected, motion } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: motion });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  /** @type {string[]} */
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error.stack ?? error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) errors.push(`${message.text()} (${message.location().url})`);
  });
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== base && !["data:", "blob:"].includes(url.protocol)) errors.push(`a request to ${url}`);
  });
  t.after(async () => {
    await context.close();
    const found = expected ? errors.filter((error) => !expected.test(error)) : errors;
    assert.deepEqual(found, []);
  });
  return page;
}

/**
 * Saves a screenshot of the page.
 *
 * @param {import("playwright-core").Page} page
 * @param {string} name
 * @param {boolean} [fullPage]
 */
export async function shoot(page, name, fullPage = true) {
  await page.screenshot({ path: path.join(screenshots, `${name}.png`), fullPage });
}

/**
 * Fails if axe finds an accessibility problem.
 *
 * @param {import("playwright-core").Page} page
 */
export async function accessible(page) {
  // Elements that fade in have less contrast meanwhile, so wait for animations to end, except endless ones.
  await page.evaluate(() => Promise.allSettled(document.getAnimations().filter((each) => each.effect?.getComputedTiming().endTime !== Infinity).map((each) => each.finished)));
  // Run in the page through the debugger, as the page's own policy allows no other script.
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { violations } = await /** @type {any} */ (window).axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    return violations.map((/** @type {any} */ v) => ({ id: v.id, help: v.help, nodes: v.nodes.slice(0, 3).map((/** @type {any} */ n) => `${n.html.slice(0, 200)} | ${n.failureSummary}`) }));
  });
  assert.deepEqual(found, [], JSON.stringify(found, null, 2));
}

/** @param {import("playwright-core").Page} page Waits until every picture of the page is drawn. */
export async function drawn(page) {
  await page.waitForFunction(() => {
    const pictures = [...document.querySelectorAll("figure.picture")];
    return pictures.length > 0 && pictures.every((picture) => picture.hasAttribute("data-drawn") && !picture.hasAttribute("aria-busy"));
  });
}

/**
 * @param {string} method
 * @param {string} address
 * @param {unknown} [body]
 * @returns {Promise<any>}
 */
export async function api(method, address, body) {
  const response = await fetch(base + address, { method, headers: body === undefined ? {} : { "Content-Type": "application/json" }, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${address}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

/** @param {string} id @returns {Promise<any>} The refit, once it has ended. */
export async function refitted(id) {
  for (;;) {
    const refit = await api("GET", `/v1/refits/${id}`);
    if (refit.finished_at) return refit;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Roughly the published law of T5 with sizes in millions; synthetic runs follow it. */
const LAW = { a_s: 0.57, b_s: 0.722, c_s: 1.53, b_n: 0.245, a_d: 6.9e8, b_d: 0.203, c: 0.651 };

/**
 * Synthetic runs with 1 % noise, the same on every call.
 *
 * @param {number} count
 * @param {string} prefix
 * @returns {any[]}
 */
export function synthetic(count, prefix) {
  let state = 12345;
  const random = () => ((state = (state * 1103515245 + 12345) % 2147483648) / 2147483648);
  return Array.from({ length: count }, (_, i) => {
    const nonzero_params = [1.3e6, 5.3e6, 2.1e7, 8.5e7, 3.4e8][i % 5];
    const sparsity = [0, 0.5, 0.75, 0.875][Math.floor(i / 5) % 4];
    const data = Math.round(1e9 * 10 ** (2 * random()));
    const noise = 1 + 0.01 * (random() + random() + random() - 1.5);
    const loss = (LAW.a_s * (1 - sparsity) ** LAW.b_s + LAW.c_s) * (nonzero_params / 1e6) ** -LAW.b_n + (LAW.a_d / data) ** LAW.b_d + LAW.c;
    return { external_id: `${prefix}-${String(i + 1).padStart(4, "0")}`, nonzero_params, sparsity, data, loss: loss * noise, tags: { sweep: `s${i % 7}` } };
  });
}

/**
 * Creates a family with runs and a law.
 *
 * @param {string} name
 * @param {any[]} runs
 * @param {any} [options] Of the refit.
 */
export async function family(name, runs, options = {}) {
  await api("POST", "/v1/families", { name, data_unit: "tokens", description: "Synthetic runs of the dashboard's tests" });
  await api("POST", `/v1/families/${name}/runs`, runs);
  const refit = await refitted((await api("POST", `/v1/families/${name}/refits`, options)).id);
  assert.equal(refit.state, "succeeded", JSON.stringify(refit));
}

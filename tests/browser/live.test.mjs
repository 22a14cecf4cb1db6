/** Changes to a family while its page is open. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible, api, base, drawn, family, launch, open, refitted, shoot, synthetic } from "./support.mjs";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

const QUICK = { starts: 4, bootstrap: 100, holdout: [] };

test("runs, refits and laws of others are seen at once, and a page of an older law says so", async (t) => {
  await family("live", synthetic(40, "live"), QUICK);
  const [page, other] = [await open(t, browser), await open(t, browser)];
  for (const one of [page, other]) {
    await one.goto(`${base}/?family=live`);
    await drawn(one);
  }
  assert.equal(await page.locator(".news .item").count(), 0);
  await api("POST", "/v1/families/live/runs", synthetic(42, "live"));
  await page.locator(".news", { hasText: "Since law 1: 2 runs came." }).waitFor();
  await accessible(page);
  await shoot(page, "live-runs", false);

  // One page asks for a refit; the other sees it, and its law.
  await page.getByRole("button", { name: "Refit" }).click();
  await page.getByRole("heading", { name: "Refits, newest first" }).waitFor();
  await page.locator("tr", { hasText: "done" }).filter({ hasText: "law 2" }).waitFor();
  // It was fitted with the options of the law before.
  const { options } = await api("GET", "/v1/families/live/laws/2");
  assert.deepEqual([options.starts, options.bootstrap, options.holdout], [QUICK.starts, QUICK.bootstrap, QUICK.holdout]);
  await other.locator(".news", { hasText: "Law 2 answers now; this page was made with law 1." }).waitFor();
  await shoot(other, "live-law", false);
  await other.getByRole("button", { name: "Show law 2" }).click();
  await other.locator(".answer .foot", { hasText: "By law 2, fitted from 42 runs" }).waitFor();
  await other.waitForFunction(() => document.querySelectorAll(".news .item").length === 0);

  // A refit that fails is shown with the reason, without having to look for it.
  await api("PATCH", "/v1/families/live/runs/by-external-id/live-0001", { excluded: true, exclusion_reason: "diverged" });
  await other.locator(".news", { hasText: "Since law 2: 1 run was taken out." }).waitFor();
  const refit = await api("POST", "/v1/families/live/refits", { starts: 4096, bootstrap: 1000 });
  await other.locator(".news", { hasText: "A refit is" }).waitFor();
  assert.equal(await other.getByRole("button", { name: "Refit" }).count(), 0);
  await api("DELETE", `/v1/refits/${refit.id}`);
  await refitted(refit.id);
  await other.waitForFunction(() => !document.querySelector(".news")?.textContent?.includes("A refit is"));

  await api("DELETE", "/v1/families/live");
  await other.locator(".news .gone", { hasText: "This family was deleted" }).waitFor();
  await accessible(other);
});

test("runs of others are offered where runs are listed", async (t) => {
  await api("POST", "/v1/families", { name: "listed" });
  const page = await open(t, browser);
  await page.goto(`${base}/?family=listed&view=runs`);
  await page.getByText("There are no runs yet").waitFor();
  await api("POST", "/v1/families/listed/runs", synthetic(3, "listed"));
  await page.getByRole("button", { name: "Load the runs as they are now" }).click();
  await page.getByText("listed-0003").waitFor();
  await page.getByRole("button", { name: "Load the runs as they are now" }).waitFor({ state: "hidden" });
});

test("a page that gets no stream asks now and then", async (t) => {
  await family("polled", synthetic(40, "polled"), QUICK);
  const page = await open(t, browser, { expected: /503/ });
  const problem = { type: "/problems/unavailable", title: "Unavailable", status: 503, detail: "no stream" };
  await page.route("**/v1/families/polled/events", (route) => route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify(problem) }));
  await page.goto(`${base}/?family=polled`);
  await drawn(page);
  await refitted((await api("POST", "/v1/families/polled/refits", QUICK)).id);
  await page.locator(".news", { hasText: "Law 2 answers now" }).waitFor();
});

test("a service that goes away is said to, until it is back", async (t) => {
  const page = await open(t, browser, { expected: /ERR_FAILED|ERR_CONNECTION/ });
  await page.route("**/v1/families/demo/events", (route) => route.abort());
  await page.goto(`${base}/?family=demo`);
  await drawn(page);
  await page.locator(".news", { hasText: "The service cannot be reached for now" }).waitFor();
  await accessible(page);
  await page.unroute("**/v1/families/demo/events");
  await page.waitForFunction(() => !document.querySelector(".news")?.textContent?.includes("cannot be reached"));
});

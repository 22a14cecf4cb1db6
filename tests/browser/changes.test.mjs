/** Changing and deleting from the page, what each key allows, and the history of an answer. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { accessible, api, base, drawn, family, launch, open, refitted, shoot, synthetic } from "./support.mjs";

/** @type {import("playwright-core").Browser} */
let browser;
before(async () => { browser = await launch(); });
after(() => browser.close());

const QUICK = { starts: 4, bootstrap: 100, holdout: [] };

/** @param {string} text @returns {string} The text with the non-breaking spaces before units replaced by plain ones. */
const spaced = (text) => text.replaceAll("\u00a0", " ");

test("settings are changed, one by one, and what is wrong is said where it stands", async (t) => {
  await api("POST", "/v1/families", { name: "to-set", description: "before" });
  const page = await open(t, browser, { expected: /422/ });
  await page.goto(`${base}/?family=to-set&view=settings`);
  const save = page.getByRole("button", { name: "Save" });
  assert.ok(await save.isDisabled());
  await accessible(page);
  await page.getByLabel("Description").fill("after");
  await page.getByLabel("FLOPs per parameter").fill("8");
  const [request] = await Promise.all([page.waitForRequest((one) => one.method() === "PATCH"), save.click()]);
  assert.deepEqual(request.postDataJSON(), { description: "after", flops_per_param: 8 });
  await page.getByText("Saved: description, flops per parameter.").first().waitFor();
  assert.ok(await save.isDisabled());
  await page.locator(".family-head").getByText("after").waitFor();

  // An error from the service names the field and the value; input that the page itself cannot read is reported
  // before it is sent.
  const field = page.locator(".field", { has: page.getByLabel("Tokens in one of these") });
  await page.getByLabel("Tokens in one of these").fill("1e15");
  await save.click();
  await field.getByText("must be between 1e-6 and 1e12").waitFor();
  assert.equal(await page.getByLabel("Tokens in one of these").getAttribute("aria-invalid"), "true");
  await accessible(page);
  await shoot(page, "settings-wrong", false);
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByLabel("Huber's delta").fill("much");
  await save.click();
  await page.getByRole("alert").getByText("Huber's delta: “much” is no number.").waitFor();

  // A measured schedule, and experts.
  await page.getByRole("button", { name: "Undo" }).click();
  await page.getByLabel("Given").selectOption("as measured");
  await page.getByLabel("Progress and share").fill("0.25 0\n0.75 1");
  await page.getByLabel("The zeros are").selectOption("experts");
  await page.getByLabel("Numbers of experts").fill("8, 16");
  await page.getByLabel("Active ones").fill("1 2");
  await page.getByLabel("Share that all pass").fill("33%");
  await save.click();
  await page.getByText("Saved: pruning, zeros, experts.").first().waitFor();
  const now = await api("GET", "/v1/families/to-set");
  assert.deepEqual([now.pruning, now.zeros, now.experts], [{ points: [[0.25, 0], [0.75, 1]] }, "experts", { counts: [8, 16], active: [1, 2], shared_share: 0.33 }]);
  assert.deepEqual([now.description, now.flops_per_param, now.objective.delta], ["after", 8, "auto"]);
  // Without runs and laws the unit can be changed; with them it is fixed.
  assert.ok(await page.getByLabel("Data is counted in").isEnabled());
  await api("POST", "/v1/families/to-set/runs", synthetic(2, "set"));
  await page.reload();
  assert.ok(await page.getByLabel("Data is counted in").isDisabled());
  await page.getByText("Fixed: there are runs or laws that count in it.").waitFor();
});

test("what others change in the meantime is seen, and not overwritten unseen", async (t) => {
  await api("POST", "/v1/families", { name: "shared", description: "ours" });
  const page = await open(t, browser);
  await page.goto(`${base}/?family=shared&view=settings`);
  await page.getByLabel("FLOPs per parameter").fill("7");
  // Another field takes the new value, and what was typed stays.
  await api("PATCH", "/v1/families/shared", { description: "theirs" });
  await page.locator(".notes", { hasText: "Somebody else changed this family: description is “theirs” now." }).waitFor();
  assert.deepEqual([await page.getByLabel("Description").inputValue(), await page.getByLabel("FLOPs per parameter").inputValue()], ["theirs", "7"]);
  // For the same field both values are shown.
  await api("PATCH", "/v1/families/shared", { flops_per_param: 9 });
  await page.locator(".notes", { hasText: "flops per parameter is 9 now" }).waitFor();
  assert.equal(await page.getByLabel("FLOPs per parameter").inputValue(), "7");
  await accessible(page);
  await shoot(page, "settings-others", false);
  await page.getByRole("button", { name: "Take theirs" }).click();
  assert.equal(await page.getByLabel("FLOPs per parameter").inputValue(), "9");
  assert.ok(await page.getByRole("button", { name: "Save" }).isDisabled());
  assert.equal(await page.locator(".news .item").count(), 0);

  // A change that the page was not told about is found before it saves.
  const deaf = await open(t, browser, { expected: /ERR_FAILED/ });
  await deaf.route("**/v1/families/shared/events", (route) => route.abort());
  await deaf.goto(`${base}/?family=shared&view=settings`);
  await deaf.getByLabel("Description").fill("mine");
  await api("PATCH", "/v1/families/shared", { description: "someone's" });
  await deaf.getByRole("button", { name: "Save" }).click();
  await deaf.locator(".notes", { hasText: "description is “someone's” now" }).waitFor();
  assert.equal((await api("GET", "/v1/families/shared")).description, "someone's");
  // Once it has been seen, it may be replaced.
  await deaf.getByRole("button", { name: "Save" }).click();
  await deaf.getByText("Saved: description.").first().waitFor();
  assert.equal((await api("GET", "/v1/families/shared")).description, "mine");
});

test("a family is deleted by its name, with what goes with it", async (t) => {
  await family("to-delete", synthetic(40, "gone"), QUICK);
  const page = await open(t, browser);
  await page.goto(`${base}/?family=to-delete&view=settings`);
  await page.getByRole("button", { name: "Delete this family…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("40 runs and 1 law").waitFor();
  await accessible(page);
  await shoot(page, "delete-family", false);
  await dialog.getByRole("button", { name: "Delete for good" }).click();
  await dialog.getByLabel("Type its name").fill("to-delet");
  await dialog.getByRole("button", { name: "Delete for good" }).click();
  assert.ok(await dialog.isVisible());
  await dialog.getByRole("button", { name: "Cancel" }).click();
  assert.equal((await api("GET", "/v1/families/to-delete")).name, "to-delete");
  await page.getByRole("button", { name: "Delete this family…" }).click();
  await dialog.getByLabel("Type its name").fill("to-delete");
  await dialog.getByRole("button", { name: "Delete for good" }).click();
  await page.getByRole("heading", { name: "Families" }).waitFor();
  assert.equal((await fetch(`${base}/v1/families/to-delete`)).status, 404);
});

test("runs are deleted, one or several, and those that others deleted are no reason to stop", async (t) => {
  await family("to-thin", synthetic(60, "thin"), QUICK);
  const page = await open(t, browser, { expected: /404/ });
  await page.goto(`${base}/?family=to-thin&view=runs`);
  await page.getByRole("checkbox", { name: "Choose thin-0060" }).check();
  await page.getByRole("button", { name: "Delete 1…" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("thin-0060").waitFor();
  await accessible(page);
  await shoot(page, "delete-run", false);
  await dialog.getByRole("button", { name: "Delete for good" }).click();
  await page.locator("main").getByText("1 run deleted. Laws stay as they are").waitFor();
  await page.locator("main").getByText("59 runs, 0 excluded").waitFor();

  await page.getByRole("checkbox", { name: "Choose thin-0001" }).check();
  await page.getByRole("checkbox", { name: "Choose thin-0002" }).check();
  await api("DELETE", "/v1/families/to-thin/runs/by-external-id/thin-0002");
  await page.getByRole("button", { name: "Exclude 2…" }).click();
  await page.getByLabel("Reason").fill("diverged");
  await dialog.getByRole("button", { name: "Exclude" }).click();
  await page.locator("main").getByText("1 run excluded. 1 run had been deleted by somebody else.").waitFor();
  await page.locator("main").getByText("58 runs, 1 excluded").waitFor();

  // To delete many runs, one types their number.
  await page.getByRole("checkbox", { name: "Choose all of this page" }).check();
  await page.getByRole("button", { name: "Delete 58…" }).click();
  await dialog.getByRole("button", { name: "Delete for good" }).click();
  assert.ok(await dialog.isVisible());
  await dialog.getByLabel("Type how many").fill("58");
  await dialog.getByRole("button", { name: "Delete for good" }).click();
  await page.getByText("There are no runs yet").waitFor();
  assert.equal((await api("GET", "/v1/families/to-thin/runs")).items.length, 0);
  // The law stays.
  assert.equal((await api("GET", "/v1/families/to-thin")).active_law.version, 1);
});

/**
 * Makes the service require a key for the pages of a context: one of this table, with its scope and families.
 *
 * @param {import("playwright-core").BrowserContext} context
 * @param {Record<string, any>} keys
 */
async function withKeys(context, keys) {
  await context.route("**/v1/**", (route) => {
    const request = route.request();
    const problem = (/** @type {number} */ status, /** @type {string} */ title) => route.fulfill({ status, contentType: "application/problem+json", body: JSON.stringify({ type: "/problems/forbidden", title, status, detail: `${title}.` }) });
    const key = keys[(request.headers().authorization ?? "").replace("Bearer ", "")];
    if (!key) return problem(401, "No valid key was given");
    const { pathname } = new URL(request.url());
    if (pathname === "/v1/caller") return route.fulfill({ json: { kind: "key", actor: "0197f0c2-a4b0-7c3c-9a52-f6d1e8b4a7c3", expires_at: null, families: null, ...key } });
    const writes = !["GET", "HEAD"].includes(request.method()) && !/(plans|suggestions|predictions|sparsities)$/.test(pathname);
    if (writes && key.scope === "read") return problem(403, "The key may only read");
    return route.continue();
  });
}

const KEYS = {
  reader: { name: "laptop", scope: "read" },
  writer: { name: "nightly training", scope: "write" },
  mine: { name: "only mine", scope: "admin", families: ["demo"] },
};

/** @param {import("playwright-core").Page} page @param {string} key @param {boolean} [keep] */
async function giveKey(page, key, keep = false) {
  await page.getByRole("textbox", { name: "Key" }).fill(key);
  if (keep) await page.getByLabel("Keep it on this device").check();
  await page.getByRole("button", { name: "Use this key" }).click();
}

test("a key that reads is shown nothing that could only fail, and why", async (t) => {
  const page = await open(t, browser, { expected: /401/ });
  await withKeys(page.context(), KEYS);
  await page.goto(`${base}/?family=demo`);
  await giveKey(page, "reader");
  await drawn(page);
  await page.getByRole("button", { name: /laptop/ }).waitFor();
  const reason = "This needs a key of the scope write; yours has read.";
  for (const [view, buttons] of /** @type {[string, string[]][]} */ ([["runs", ["Exclude…", "Delete…"]], ["upload", ["Upload"]], ["laws", ["Refit", "Import", "Use this law"]], ["forecasts", ["Register"]], ["settings", ["Save"]]])) {
    await page.goto(`${base}/?family=demo&view=${view}`);
    await page.locator("main .denied").first().getByText(reason).waitFor();
    for (const name of buttons) assert.equal(await page.getByRole("button", { name, exact: true }).count(), 0, `${view}: ${name}`);
    await accessible(page);
    await shoot(page, `reader-${view}`, false);
  }
  await page.getByText("This needs a key of the scope admin; yours has read.").waitFor();
  assert.ok(await page.getByLabel("Description").isDisabled());
  for (const [address, button] of [["", "New family"], ["/?view=hardware", "New profile"]]) {
    await page.goto(base + address);
    await page.locator("main .denied").getByText(reason).waitFor();
    assert.equal(await page.getByRole("button", { name: button }).count(), 0);
  }
});

test("keys for some families, and those that may not delete, are told so", async (t) => {
  const page = await open(t, browser, { expected: /401/ });
  await withKeys(page.context(), KEYS);
  await page.goto(`${base}/?family=demo&view=settings`);
  await giveKey(page, "writer");
  await page.getByText("This needs a key of the scope admin; yours has write.").waitFor();
  await page.getByRole("button", { name: "Save" }).waitFor();
  const other = await open(t, browser, { expected: /401/ });
  await withKeys(other.context(), KEYS);
  await other.goto(`${base}/?view=hardware`);
  await giveKey(other, "mine");
  await other.locator("main .denied").getByText("Your key is for some families only, and this concerns all of them.").waitFor();
  await other.goto(`${base}/?family=t5-c4&view=settings`);
  await other.locator("main .denied").first().getByText("Your key is not for the family t5-c4.").waitFor();
  await other.goto(`${base}/?family=demo&view=settings`);
  await other.getByRole("button", { name: "Delete this family…" }).waitFor();
});

/** @param {import("playwright-core").Page} page @returns {Promise<string[][]>} The keys that the page stores, in the tab and on the device. */
const kept = (page) => page.evaluate(() => [sessionStorage, localStorage].map((storage) => Object.keys(storage).filter((name) => name.includes("key")).map((name) => String(storage.getItem(name)))));

test("a key is asked for once in a browser, and logging out forgets it in every tab", async (t) => {
  const page = await open(t, browser, { expected: /401/ });
  const context = page.context();
  await withKeys(context, KEYS);
  await page.goto(`${base}/?family=demo&view=laws`);
  await giveKey(page, "writer");
  await page.getByRole("heading", { name: /which answers/ }).waitFor();
  assert.deepEqual(await kept(page), [["writer"], []]);
  // Another tab gets the key from this one.
  const tab = await context.newPage();
  await tab.goto(`${base}/?family=demo&view=runs`);
  await tab.getByRole("button", { name: "Exclude…" }).waitFor();
  assert.equal(await tab.getByRole("dialog").count(), 0);
  assert.deepEqual(await kept(tab), [["writer"], []]);

  await tab.getByRole("button", { name: /nightly training/ }).click();
  const dialog = tab.getByRole("dialog");
  await dialog.getByText("in the tabs of this page, until they are closed").waitFor();
  await dialog.getByText("also store and change runs", { exact: false }).waitFor();
  await accessible(tab);
  await shoot(tab, "caller", false);
  await dialog.getByRole("button", { name: "Log out" }).click();
  // Both tabs ask for a key again, and neither shows anything.
  for (const one of [tab, page]) {
    await one.getByRole("dialog").getByText("This service answers to those who have a key.").waitFor();
    assert.deepEqual(await kept(one), [[], []]);
    assert.ok(!(await one.locator("main").innerText()).includes("demo-0"));
  }
  // A key that is entered in one tab is not asked for in the other.
  await giveKey(tab, "reader", true);
  await tab.getByRole("button", { name: /laptop/ }).waitFor();
  await page.getByRole("button", { name: /laptop/ }).waitFor();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.deepEqual([await kept(page), await kept(tab)], [[[], ["reader"]], [[], ["reader"]]]);
  await tab.getByRole("button", { name: /laptop/ }).click();
  await tab.getByText("on this device, until you log out").waitFor();
  await tab.close();
  // The key survives when all tabs are closed.
  await page.close();
  const later = await context.newPage();
  await later.goto(`${base}/?family=demo&view=runs`);
  await later.locator("main .denied").waitFor();
  await later.getByRole("button", { name: /laptop/ }).click();
  await later.getByRole("dialog").getByRole("button", { name: "Log out" }).click();
  await later.getByRole("dialog").getByText("This service answers to those who have a key.").waitFor();
  assert.deepEqual(await kept(later), [[], []]);
});

test("one question is answered by each law, with what changed between", async (t) => {
  await family("older", synthetic(40, "old"), QUICK);
  await api("POST", "/v1/families/older/runs", synthetic(44, "old"));
  await api("DELETE", "/v1/families/older/runs/by-external-id/old-0003");
  await refitted((await api("POST", "/v1/families/older/refits", { ...QUICK, bootstrap: 120 })).id);
  for (const count of [52, 64]) {
    await api("POST", "/v1/families/older/runs", synthetic(count, "old"));
    await refitted((await api("POST", "/v1/families/older/refits", QUICK)).id);
  }
  const dense = { a: 482.01, b_n: 0.3478, a_d: 1.2e9, b_d: 0.3658, c: 1.8172 };
  await api("POST", "/v1/families/older/laws", { form: "dense", coefficients: dense, reference: "elsewhere" });
  const page = await open(t, browser, { expected: /503/ });
  await page.goto(`${base}/?family=older&view=history&n=100M&c=1e20`);
  await drawn(page);
  const found = await api("GET", "/v1/families/older/optimal-sparsity/history?nonzero_params=1e8&compute=1e20&flop_mode=sparse");
  const row = (/** @type {number} */ version) => page.getByRole("row", { name: new RegExp(`^law ${version}`) });
  assert.match(spaced(await row(4).innerText()), /answers[\s\S]*12 runs added\.$/);
  assert.match(spaced(await row(2).innerText()), /4 runs added, 1 removed\.[\s\S]*bootstrap: 100 → 120/);
  assert.match(spaced(await row(5).innerText()), /published[\s\S]*no answer[\s\S]*Published elsewhere/);
  assert.match(spaced(await row(1).innerText()), /The first law\./);
  for (const { law, answer } of found.items.filter((/** @type {any} */ item) => item.answer)) {
    const text = spaced(await row(law.version).innerText());
    assert.ok(text.includes(`${(100 * answer.sparsity).toFixed(1)} %`), text);
    assert.ok(text.includes(answer.loss.toPrecision(4)), text);
  }
  assert.equal(await page.locator("figure.picture").count(), 2);
  assert.match(spaced(await page.locator('[data-picture="history-sparsity"] figcaption').innerText()), /by 4 laws: law 4 says .* Bars are 95 % intervals\./);
  await accessible(page);
  await shoot(page, "history");
  // A law is opened by a click, and with the keyboard.
  await page.locator('[data-picture="history-loss"] .plot').focus();
  await page.keyboard.press("End");
  await page.locator('[data-picture="history-loss"] .tip').getByText("law 4, fitted").waitFor();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Law 4, which answers" }).waitFor();
  await page.goBack();
  await drawn(page);

  // Another question, and a law that is added meanwhile.
  await page.getByLabel("Training compute").fill("1e21");
  await page.waitForFunction(() => new URLSearchParams(location.search).get("c") === "1e21" && !document.querySelector(".findings.old"));
  await api("POST", "/v1/families/older/runs", synthetic(66, "old"));
  await refitted((await api("POST", "/v1/families/older/refits", QUICK)).id);
  await row(6).waitFor();
  // Older laws are loaded on demand.
  await page.route("**/optimal-sparsity/history?*", (route) => {
    const url = new URL(route.request().url());
    if (!url.searchParams.has("limit")) url.searchParams.set("limit", "2");
    return route.continue({ url: url.href });
  });
  await page.reload();
  await page.getByText("The newest 2; small numbers are intervals.").waitFor();
  assert.equal(await row(1).count(), 0);
  await page.getByRole("button", { name: "Show older laws" }).click();
  await row(3).waitFor();
  await page.getByRole("button", { name: "Show older laws" }).click();
  await row(1).waitFor();
  await page.getByText("All 6 laws; small numbers are intervals.").waitFor();
  await drawn(page);

  // A failed request can be tried again.
  await page.unroute("**/optimal-sparsity/history?*");
  let broken = true;
  await page.route("**/optimal-sparsity/history?*", (route) => (broken ? route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify({ type: "/problems/unavailable", title: "Unavailable", status: 503, detail: "no room" }) }) : route.continue()));
  await page.getByLabel("Sparsity at most").fill("50%");
  await page.getByRole("alert").getByText("No room").waitFor();
  broken = false;
  await page.getByRole("button", { name: "Try again" }).click();
  await row(1).getByText("50.0 %").waitFor();
});

test("a family without a law has no history yet, and one whose laws do not know says why", async (t) => {
  await api("POST", "/v1/families", { name: "no-history" });
  const page = await open(t, browser);
  await page.goto(`${base}/?family=no-history&view=history`);
  await page.getByText("An answer has a history as soon as there is a law.").waitFor();
  await accessible(page);
  const dense = { a: 482.01, b_n: 0.3478, a_d: 1.2e9, b_d: 0.3658, c: 1.8172 };
  await api("POST", "/v1/families/no-history/laws", { form: "dense", coefficients: dense, reference: "elsewhere" });
  await page.reload();
  await page.getByText("None of these laws knows an answer to this question").waitFor();
  assert.equal(await page.locator("figure.picture").count(), 0);
  await accessible(page);
  await shoot(page, "history-none");
});

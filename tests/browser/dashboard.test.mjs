/**
 * The main flows of the dashboard, each in a new page. The `demo` family is never changed: tests that
 * write create their own families.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";

import { accessible, api, base, drawn, family, launch, open, refitted, shoot, synthetic } from "./support.mjs";

/** @type {import("playwright-core").Browser} */
let browser;

/** @param {string} text @returns {string} The text with the non-breaking spaces before units replaced by plain ones. */
const spaced = (text) => text.replaceAll("\u00a0", " ");

before(async () => {
  browser = await launch();
  await family("thousand", synthetic(1000, "sweep"));
});
after(() => browser.close());

test("families are shown with their law, its age and its warnings", async (t) => {
  const page = await open(t, browser);
  await page.goto(base);
  const row = page.getByRole("row", { name: /^demo/ });
  await row.getByText("48", { exact: true }).waitFor();
  assert.match(await row.innerText(), /law \d+ fitted[\s\S]*(just now|minutes? ago)[\s\S]*\d warnings/);
  await row.getByText(/warnings/).click();
  await row.getByRole("listitem").first().waitFor();
  const published = page.getByRole("row", { name: /^t5-c4/ });
  await published.getByText("trust: weak").waitFor();
  assert.match(await published.innerText(), /published[\s\S]*years ago/);
  await accessible(page);
  await shoot(page, "families");
  await page.getByRole("link", { name: "demo" }).click();
  await page.getByRole("heading", { name: "How sparse?" }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get("family"), "demo");
});

test("a new family is made from the page", async (t) => {
  const page = await open(t, browser, { expected: /409 \(Conflict\)/ });
  await page.goto(base);
  await page.getByRole("button", { name: "New family" }).click();
  await page.getByLabel("Name").fill("demo");
  await accessible(page);
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("dialog").getByRole("alert").waitFor();
  await page.getByLabel("Name").fill("made-here");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("heading", { name: "Upload runs" }).waitFor();
  await page.getByRole("link", { name: "Answer", exact: true }).click();
  await page.getByRole("heading", { name: "No law answers yet" }).waitFor();
  await accessible(page);
  await shoot(page, "no-law");
});

test("the calculator answers what is typed, and the address can be shared", async (t) => {
  const page = await open(t, browser);
  await page.goto(`${base}/?family=demo`);
  await page.getByLabel("Non-zero parameters").fill("70M");
  await page.getByLabel("Training compute").fill("3 EFLOP");
  await page.getByLabel("Sparsity to compare").fill("50%");
  await page.getByLabel("What a step costs").selectOption("sparse");
  await page.locator("main").getByText("At 50 %: loss").waitFor();
  await page.waitForFunction(() => new URLSearchParams(location.search).get("c") === "3 EFLOP" && !document.querySelector(".answer.old"));

  const wanted = await api("GET", "/v1/families/demo/optimal-sparsity?nonzero_params=7e7&compute=3e18&flop_mode=sparse");
  const percent = (/** @type {number} */ value) => (100 * value).toFixed(0);
  const text = spaced(await page.locator(".answer").innerText());
  assert.ok(text.includes(`${percent(wanted.sparsity)} % sparse, ${percent(wanted.interval.low)}–${percent(wanted.interval.high)} %.`), text);
  assert.ok(text.includes(wanted.loss.toPrecision(4)), text);
  assert.ok(text.includes(wanted.dense.loss.toPrecision(4)), text);
  assert.ok(text.includes(`${wanted.intervals.loss.low.toPrecision(4)}–${wanted.intervals.loss.high.toPrecision(4)}`), text);
  assert.match(await page.locator("#announcer").innerText(), /(Train|trained) .* Chinchilla/);

  const other = await open(t, browser);
  await other.goto(page.url());
  await other.locator("main").getByText("At 50 %: loss").waitFor();
  assert.equal(spaced(await other.locator(".answer").innerText()), text);
  assert.equal(await other.getByLabel("Training compute").inputValue(), "3 EFLOP");
});

test("where the data stop is said in words, and what is no number too", async (t) => {
  const page = await open(t, browser);
  await page.goto(`${base}/?family=demo&n=1B&c=1e22`);
  await page.locator("main").getByText(/size: 11\.8× beyond the largest of the runs \(84\.9M\)/).waitFor();
  await page.locator("main").getByText(/data: .*× beyond the largest of the runs/).waitFor();
  await page.getByLabel("Training compute").fill("much");
  await page.locator("main").getByText("not a number: 70M, 1e21, 3 EFLOP").waitFor();
  assert.equal(await page.getByLabel("Training compute").getAttribute("aria-invalid"), "true");
  await shoot(page, "invalid");
});

/** @param {import("playwright-core").Page} page @param {string} name @returns {Promise<string | null>} The scale and ends of the horizontal axis of a picture. */
const axisOf = (page, name) => page.locator(`[data-picture="${name}"] .plot svg`).getAttribute("data-x");

/** @param {import("playwright-core").Page} page @param {string} name @param {string | null} was Waits until the horizontal axis of a picture is another one. */
const moved = (page, name, was) => page.waitForFunction(([name, was]) => {
  const picture = document.querySelector(`[data-picture="${name}"]:not([aria-busy])`);
  const now = picture?.querySelector(".plot svg")?.getAttribute("data-x");
  return now && now !== was;
}, [name, was]);

/** The mark of the first run, after those of the legend. */
const FIRST_RUN = '[data-picture="fit"] .plot svg > g:last-of-type .mark';

test("the four pictures are drawn, hovered, zoomed and switched", async (t) => {
  const page = await open(t, browser);
  /** @type {string[]} */
  const scripts = [];
  page.on("request", (request) => { if (request.resourceType() === "script") scripts.push(request.url()); });
  await page.goto(`${base}/?family=demo&n=70M&c=1e20`);
  await drawn(page);
  assert.equal(await page.locator("figure.picture").count(), 4);
  await shoot(page, "answer-light");

  // The page shows the pictures of the service: the same lines in the same colours.
  const contours = page.locator('[data-picture="contours"]');
  const served = await (await fetch(`${base}/v1/families/demo/contours?flop_mode=sparse&mark=7e7,1e20`, { headers: { accept: "image/svg+xml" } })).text();
  const colours = [...served.matchAll(/<path class="level"[^>]*stroke="(#[0-9a-f]{6})"/g)].map((match) => match[1]);
  assert.equal(colours.length, 4);
  assert.deepEqual(await contours.locator(".plot path.level").evaluateAll((lines) => lines.map((line) => line.getAttribute("stroke"))), colours);
  assert.equal(await axisOf(page, "contours"), /data-x="([^"]*)"/.exec(served)?.[1]);

  // Hovering shows the run or the value on a line and, elsewhere, the position.
  const fit = page.locator('[data-picture="fit"]');
  const box = await page.locator(FIRST_RUN).first().boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await fit.locator(".tip").getByText(/demo-\d\d/).waitFor();
  await shoot(page, "hover", false);
  const line = await page.locator('[data-picture="loss"] path.loss').boundingBox();
  await page.mouse.move(line.x + line.width - 3, line.y + 3);
  await page.locator('[data-picture="loss"] .tip').getByText(/^loss \d\.\d+ \(/).waitFor();
  const area = await contours.locator(".plot svg").boundingBox();
  await page.mouse.move(area.x + area.width * 0.7, area.y + area.height * 0.78);
  await contours.locator(".tip").getByText(/M|B.*FLOP/).first().waitFor();

  // Zoom: with a button, by dragging, and back.
  const whole = await axisOf(page, "contours");
  await contours.getByRole("button", { name: /Zoom in/ }).click();
  await moved(page, "contours", whole);
  // The zoom stays when another question is asked.
  const near = await axisOf(page, "contours");
  await page.getByLabel("Non-zero parameters").fill("60M");
  await page.waitForFunction(() => new URLSearchParams(location.search).get("n") === "60M" && !document.querySelector("[aria-busy], .answer.old"));
  assert.equal(await axisOf(page, "contours"), near);
  await page.getByLabel("Non-zero parameters").fill("70M");
  await page.waitForFunction(() => new URLSearchParams(location.search).get("n") === "70M" && !document.querySelector("[aria-busy], .answer.old"));
  await contours.getByRole("button", { name: /Reset to the whole/ }).click();
  await moved(page, "contours", near);
  assert.equal(await axisOf(page, "contours"), whole);
  const drag = async () => {
    await page.mouse.move(area.x + area.width * 0.3, area.y + area.height * 0.4);
    await page.mouse.down();
    await page.mouse.move(area.x + area.width * 0.6, area.y + area.height * 0.7, { steps: 5 });
    await page.mouse.up();
  };
  await drag();
  await moved(page, "contours", whole);
  const dragged = await axisOf(page, "contours");
  // With shift, dragging moves the picture and keeps its scale.
  await page.keyboard.down("Shift");
  await drag();
  await page.keyboard.up("Shift");
  await moved(page, "contours", dragged);
  const length = (/** @type {string | null} */ axis) => Number(axis?.split(" ")[2]) - Number(axis?.split(" ")[1]);
  assert.ok(Math.abs(length(await axisOf(page, "contours")) / length(dragged) - 1) < 1e-3);
  await page.mouse.dblclick(area.x + area.width * 0.5, area.y + area.height * 0.5);
  await page.waitForFunction((whole) => document.querySelector('[data-picture="contours"] .plot svg')?.getAttribute("data-x") === whole, whole);

  // The ends of the axes can be typed.
  await contours.getByText("Axes from, to").click();
  await contours.getByLabel(/Horizontal axis from/).fill("10M");
  await contours.getByLabel(/Horizontal axis to/).fill("1B");
  await contours.getByLabel(/Vertical axis from/).fill("1e30");
  await contours.getByRole("button", { name: "Show", exact: true }).click();
  await contours.getByText("Two numbers, the smaller one first.").waitFor();
  await contours.getByLabel(/Vertical axis from/).fill("1e18");
  await contours.getByRole("button", { name: "Show", exact: true }).click();
  await page.waitForFunction(() => document.querySelector('[data-picture="contours"] .plot svg')?.getAttribute("data-x") === "log 7 9");
  await contours.getByRole("button", { name: /Reset to the whole/ }).click();
  await moved(page, "contours", "log 7 9");

  // Linear and logarithmic axes, kept in the address.
  assert.match((await axisOf(page, "contours")) ?? "", /^log /);
  await contours.getByRole("combobox").selectOption("linear");
  await moved(page, "contours", whole);
  assert.match((await axisOf(page, "contours")) ?? "", /^linear 0 /);
  assert.equal(new URL(page.url()).searchParams.get("axes"), "contours.linear");
  await page.reload();
  await drawn(page);
  assert.match((await axisOf(page, "contours")) ?? "", /^linear 0 /);
  await fit.getByRole("combobox").selectOption("residuals");
  await fit.getByText("residual, above 0 where predicted too high").waitFor();

  // Each picture is saved as the service draws it, with its title.
  for (const [kind, start] of /** @type {const} */ ([["SVG", "<svg"], ["PNG", "\x89PNG"]])) {
    const saving = page.waitForEvent("download");
    await contours.getByRole("button", { name: `Download as ${kind}: Contours` }).click();
    const file = await saving;
    assert.equal(file.suggestedFilename(), `demo-contours.${kind.toLowerCase()}`);
    const bytes = readFileSync(/** @type {string} */ (await file.path()));
    assert.equal(bytes.toString("latin1", 0, 4), start);
    if (kind === "SVG") assert.match(bytes.toString(), /Optimal sparsity of demo, law \d+, FLOP mode sparse[\s\S]*data-x|data-x[\s\S]*Optimal sparsity of demo/);
  }

  // Only the page's own modules draw.
  assert.ok(scripts.length > 10 && scripts.every((url) => /\/dashboard\/[0-9a-f]+\/[a-z/]+\.js$/.test(url)), scripts.join("\n"));

  // Another mode and a hardware profile give other answers and other contours.
  const sparse = await page.locator(".headline").innerText();
  await page.getByLabel("What a step costs").selectOption("dense");
  await page.waitForFunction((was) => /** @type {HTMLElement} */ (document.querySelector(".headline")).innerText !== was, sparse);
  await contours.getByText(/in dense mode/).waitFor();
  await page.getByLabel("What a step costs").selectOption("example-a100-2-4");
  await contours.getByText(/in example-a100-2-4 mode/).waitFor();
  await page.locator("main").getByText(/Best pattern/).waitFor();
  await page.locator("main").getByText("Its loss over the best").waitFor();
  // No number is wider than its place.
  const cut = await page.locator("dl").evaluateAll((lists) => lists.filter((list) => list.scrollWidth > list.clientWidth + 1).map((list) => list.textContent));
  assert.deepEqual(cut, []);
  await drawn(page);
  await shoot(page, "profile");

  // The same as a table of numbers.
  await contours.getByText("Numbers of this picture").click();
  await contours.getByRole("row").nth(3).waitFor();
  await accessible(page);

  // A click on a run opens it.
  await fit.scrollIntoViewIfNeeded();
  const again = await page.locator(FIRST_RUN).first().boundingBox();
  await page.mouse.click(again.x + again.width / 2, again.y + again.height / 2);
  await page.locator("main").getByText(/^1 run of 48/).waitFor();
});

test("a published law answers without intervals and runs, and says so", async (t) => {
  const page = await open(t, browser);
  await page.goto(`${base}/?family=t5-c4&n=100M&c=1e20`);
  await page.locator("main").getByText("no interval: this law has none").waitFor();
  await page.locator('[data-picture="fit"]').getByText("This law was published elsewhere: its runs are not here.").waitFor();
  await page.locator('[data-picture="gain"][data-drawn]').waitFor();
  await accessible(page);
  await shoot(page, "published");
});

test("dark, narrow and wide", async (t) => {
  for (const [name, options] of /** @type {const} */ ([["dark", { scheme: "dark" }], ["phone", { width: 390, height: 844, motion: "reduce" }], ["phone-dark", { width: 390, height: 844, scheme: "dark" }], ["wide", { width: 1920, height: 1080 }]])) {
    const page = await open(t, browser, options);
    await page.goto(`${base}/?family=demo&n=70M&c=1e20&s=0.5`);
    await drawn(page);
    await accessible(page);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} scrolls sideways`);
    await shoot(page, `answer-${name}`);
    if (name === "phone-dark") await shoot(page, "phone-top", false);
    for (const view of ["runs", "upload", "laws", "history", "forecasts", "plans", "next", "settings", "hardware"]) {
      const more = view === "next" ? "&budget=1e20" : view === "hardware" ? "&profile=example-a100-2-4" : "";
      await page.goto(`${base}/?${view === "hardware" ? "" : "family=demo&"}view=${view}${more}`);
      await page.getByRole("heading", { level: 2 }).or(page.getByRole("searchbox")).first().waitFor();
      // The event stream of the family stays open, so the network is never idle.
      await page.waitForFunction(() => !document.querySelector("[aria-busy='true']"));
      await accessible(page);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${view} ${name} scrolls sideways`);
      await shoot(page, `${view}-${name}`);
    }
  }
});

test("colours can be chosen, and are kept", async (t) => {
  const page = await open(t, browser);
  await page.goto(`${base}/?family=demo`);
  await drawn(page);
  const ground = () => page.locator('[data-picture="fit"] .plot svg > rect').first().getAttribute("fill");
  assert.equal(await ground(), "#ffffff");
  await page.getByLabel("Colours").selectOption("dark");
  // The picture has the same dark background as the page.
  await page.waitForFunction(() => document.querySelector('[data-picture="fit"] .plot svg > rect')?.getAttribute("fill") === getComputedStyle(document.documentElement).getPropertyValue("--surface").trim());
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
});

test("everything can be reached by the keyboard", async (t) => {
  const page = await open(t, browser);
  await page.goto(`${base}/?family=demo`);
  await drawn(page);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to the content");
  await page.keyboard.press("Enter");
  const seen = [];
  for (let i = 0; i < 80; i += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement === document.body)) break;
    seen.push(await page.evaluate(() => {
      const at = /** @type {HTMLElement} */ (document.activeElement);
      const visible = at.matches(":focus-visible");
      return `${visible ? "" : "hidden "}${at.getAttribute("aria-label") ?? (at.labels?.[0]?.textContent || at.textContent || at.tagName).trim().slice(0, 40)}`;
    }));
  }
  for (const wanted of ["Runs", "Plans", "Non-zero parameters", "Training compute", "What a step costs", "Sparsity to compare", "Zoom in: Fit quality", "Axes: Gain", "Download as PNG: Gain"]) {
    assert.ok(seen.includes(wanted), `${wanted} is not among ${seen.join("; ")}`);
  }
  assert.ok(!seen.some((entry) => entry.startsWith("hidden ")), seen.join("; "));
  // The values of a picture can be visited one by one, and each is announced to screen readers.
  const plot = page.locator('[data-picture="fit"] .plot');
  await plot.focus();
  const said = () => page.locator("#announcer").innerText();
  await page.keyboard.press("ArrowRight");
  await page.locator('[data-picture="fit"] .tip').getByText(/^demo-\d+$/).waitFor();
  const first = await said();
  assert.match(first, /^demo-\d+, .* non-zero, .* sparse/);
  await page.keyboard.press("ArrowRight");
  assert.notEqual(await said(), first);
  await page.keyboard.press("Home");
  assert.equal(await said(), first);
  const whole = await axisOf(page, "fit");
  await page.keyboard.press("+");
  await moved(page, "fit", whole);
  await page.keyboard.press("0");
  await page.waitForFunction((whole) => document.querySelector('[data-picture="fit"]:not([aria-busy]) .plot svg')?.getAttribute("data-x") === whole, whole);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await page.locator("main").getByText(/^1 run of 48/).waitFor();
  await page.goBack();
  await page.getByRole("heading", { name: "How sparse?" }).waitFor();
  // A link moves the focus to the view that it opened.
  await page.getByRole("link", { name: "Runs", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("searchbox").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.id), "main");
  await page.goBack();
  await page.getByRole("heading", { name: "How sparse?" }).waitFor();
});

test("runs are searched, sorted, excluded with a reason and taken in again", async (t) => {
  await family("to-exclude", synthetic(60, "sweep"), { bootstrap: 100, starts: 4 });
  const page = await open(t, browser);
  await page.goto(`${base}/?family=to-exclude&view=runs`);
  await page.locator("main").getByText("60 runs, 0 excluded").waitFor();
  await page.getByRole("searchbox").fill("sweep=s3 sweep-000");
  await page.locator("main").getByText(/^1 run of 60/).waitFor();
  assert.equal(new URL(page.url()).searchParams.get("q"), "sweep=s3 sweep-000");
  await page.getByRole("searchbox").fill("");
  await page.locator("main").getByText("60 runs, 0 excluded").waitFor();
  await page.getByRole("button", { name: "Loss" }).click();
  assert.equal(await page.getByRole("columnheader", { name: "Loss" }).getAttribute("aria-sort"), "ascending");
  const losses = await page.locator("tbody tr td:nth-child(6)").allInnerTexts();
  assert.deepEqual(losses.map(Number), losses.map(Number).sort((a, b) => a - b));

  const box = page.getByRole("checkbox", { name: "Choose sweep-0004" });
  await box.check();
  await page.getByRole("button", { name: "Exclude 1…" }).click();
  await accessible(page);
  await shoot(page, "exclude", false);
  await page.getByLabel("Reason").fill("diverged");
  await page.getByRole("dialog").getByRole("button", { name: "Exclude" }).click();
  await page.locator("main").getByText("1 run excluded. This takes effect").waitFor();
  await page.locator("main").getByText("60 runs, 1 excluded").waitFor();
  await page.getByLabel("Show").selectOption("excluded");
  const row = page.getByRole("row", { name: /sweep-0004/ });
  assert.match(await row.innerText(), /excluded\s+diverged/);
  assert.equal((await api("GET", "/v1/families/to-exclude/runs?excluded=true")).items[0].exclusion_reason, "diverged");
  await page.getByRole("checkbox", { name: "Choose sweep-0004" }).check();
  await page.getByRole("button", { name: "Include again 1" }).click();
  await page.locator("main").getByText("60 runs, 0 excluded").or(page.locator("main").getByText("0 runs of 60, 0 excluded")).waitFor();
  assert.equal((await api("GET", "/v1/families/to-exclude/runs?excluded=true")).items.length, 0);
});

test("what a law without some runs would say, with nothing changed", async (t) => {
  await family("what-if", synthetic(60, "sweep"), { bootstrap: 100, starts: 4 });
  const before = [await api("GET", "/v1/families/what-if"), await api("GET", "/v1/families/what-if/runs?limit=100")];
  const page = await open(t, browser);
  await page.goto(`${base}/?family=what-if&view=runs&q=sweep-000&n=70M&c=1e20&s=0.5`);
  await page.locator("main").getByText(/^9 runs of 60/).waitFor();
  await page.getByLabel("Choose all of this page").check();
  await page.getByRole("button", { name: "What if these 9 were left out?" }).click();
  const panel = page.getByRole("region", { name: /What if these runs were left out/ });
  await panel.getByText("Nothing was changed: the 9 runs are in fits as before, and law 1 answers.").waitFor();
  await panel.getByText("Law 1 rests on 60 runs, the what-if on 51 runs.").waitFor();
  await panel.getByRole("table", { name: "Coefficients" }).waitFor();
  // The calculator's question, answered by both laws.
  const point = panel.getByRole("table", { name: /70M non-zero parameters/ });
  await point.waitFor();
  const question = "nonzero_params=7e7&compute=1e20&flop_mode=sparse";
  for (const version of [1, 2]) {
    const wanted = await api("GET", `/v1/families/what-if/optimal-sparsity?${question}&law_version=${version}`);
    const row = spaced(await point.getByRole("row", { name: /Loss at it/ }).innerText());
    assert.ok(row.includes(`${wanted.loss.toPrecision(4)} ${wanted.intervals.loss.low.toPrecision(4)}–${wanted.intervals.loss.high.toPrecision(4)}`), row);
  }
  await point.getByRole("row", { name: /Loss at 50/ }).waitFor();
  assert.deepEqual([await api("GET", "/v1/families/what-if"), await api("GET", "/v1/families/what-if/runs?limit=100")], before);
  await accessible(page);
  await shoot(page, "what-if");
  // The view can be left and found again.
  await page.reload();
  await page.getByRole("region", { name: /What if these runs/ }).getByText("Left out: 9 runs").waitFor();
  // In the list of laws the what-if is marked, and cannot be made to answer.
  const laws = await open(t, browser);
  await laws.goto(`${base}/?family=what-if&view=laws`);
  const row = laws.getByRole("row", { name: /what-if, without 9 runs/ });
  await row.getByText("only where asked for").waitFor();
  assert.equal(await row.getByRole("button", { name: "Use this law" }).count(), 0);
  await accessible(laws);
  await shoot(laws, "laws-what-if");

  // Leaving the runs out for good is a separate step, with a reason.
  await page.getByRole("button", { name: "Exclude these 9 from fits…" }).click();
  await page.getByRole("textbox", { name: "Reason" }).fill("a broken node");
  await page.getByRole("button", { name: "Exclude", exact: true }).click();
  await page.locator("main").getByText(/9 runs excluded\. This takes effect/).waitFor();
  assert.equal((await api("GET", "/v1/families/what-if/runs?excluded=true")).items.length, 9);
  await page.getByRole("button", { name: "Close" }).click();
  assert.equal(await panel.count(), 0);
  assert.equal(new URL(page.url()).searchParams.get("refit"), null);
});

/**
 * The upload view with a chosen file, from `files` or given here.
 *
 * @param {import("node:test").TestContext} t
 * @param {string} family
 * @param {string | {name: string, mimeType: string, buffer: Buffer}} file
 * @param {object} [options] Of the page.
 * @returns {Promise<import("playwright-core").Page>}
 */
async function upload(t, family, file, options) {
  const page = await open(t, browser, options);
  await page.goto(`${base}/?family=${family}&view=upload`);
  await page.getByLabel(/Drop a file/).setInputFiles(typeof file === "string" ? path.join(import.meta.dirname, "files", file) : file);
  return page;
}

/** @param {string} family @returns {Promise<Record<string, any>>} The runs of the family by name. */
async function runsOf(family) {
  const { items } = await api("GET", `/v1/families/${family}/runs?limit=1000`);
  return Object.fromEntries(items.map((/** @type {any} */ run) => [run.external_id, run]));
}

test("a dropped file is shown as the service reads it before anything is written", async (t) => {
  await api("POST", "/v1/families", { name: "to-upload", data_unit: "tokens" });
  const page = await open(t, browser);
  await page.goto(`${base}/?family=to-upload&view=upload`);
  await shoot(page, "upload-empty");
  const name = '<img src=x onerror="document.title=1">';
  const text = `${readFileSync(path.join(import.meta.dirname, "files/wrong.csv"), "utf8")}"${name.replaceAll('"', '""')}",1e6,0.5,65536000,3.1\n`;
  await page.evaluate(
    ([text]) => {
      const data = new DataTransfer();
      data.items.add(new File([text], "sweep.csv", { type: "text/csv" }));
      const drop = /** @type {Element} */ (document.querySelector(".drop"));
      drop.dispatchEvent(new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true }));
      drop.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    },
    [text],
  );
  await page.locator("main").getByText("2 runs can be written: 2 new, 0 updated, 0 unchanged. 3 errors in other rows:").waitFor();
  await page.locator("main").getByText("CSV, cells separated by commas").waitFor();
  const errors = page.getByRole("table", { name: "Errors, each kind once" });
  assert.match(await errors.innerText(), /sparsity\s+must be at least 0 and below 1, not 50 \(line 3\)\s+2\s+1, 2[\s\S]*loss\s+[^\n]*diverged[^\n]*\s+1\s+2/);
  assert.match(await page.getByRole("table", { name: "All 2 runs" }).innerText(), /65\.5M/);
  const send = page.getByRole("button", { name: "Upload 2 runs to to-upload" });
  assert.ok(await send.isDisabled());
  await accessible(page);
  await shoot(page, "upload-errors");
  assert.equal((await api("GET", "/v1/families/to-upload/runs")).items.length, 0, "nothing is written yet");
  await page.getByLabel("Leave these rows out and upload the others").check();
  await send.click();
  await page.locator(".success").getByText("Written: 2 new, 0 updated, 0 unchanged. 3 errors: these rows were left out.").waitFor();
  const first = (await runsOf("to-upload"))[name];
  assert.deepEqual([first.nonzero_params, first.sparsity, first.data, first.loss], [1e6, 0.5, 65536000, 3.1]);

  // A name is shown as text, even if it looks like HTML.
  await page.getByRole("link", { name: "see the runs" }).click();
  await page.locator("main").getByText(name).first().waitFor();
  assert.equal(await page.locator("main img").count(), 0);
  assert.notEqual(await page.title(), "1");
});

test("a table with semicolons and decimal commas is uploaded as it is, on any page", async (t) => {
  await api("POST", "/v1/families", { name: "semicolons", data_unit: "tokens" });
  for (const [name, options] of /** @type {const} */ ([["light", {}], ["dark", { scheme: "dark" }], ["phone", { width: 390, height: 844 }], ["phone-dark", { width: 390, height: 844, scheme: "dark" }]])) {
    const page = await upload(t, "semicolons", "semicolons.csv", options);
    await page.locator("main").getByText("CSV, cells separated by semicolons, decimal commas.").waitFor();
    assert.match(await page.getByRole("table", { name: "All 2 runs" }).innerText(), /dicht\s+12\.5M[\s\S]*2\.934/);
    await accessible(page);
    for (const summary of await page.locator("form details > summary").all()) {
      if (!(await summary.evaluate((/** @type {any} */ node) => node.parentElement.open))) await summary.click();
    }
    await accessible(page);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} scrolls sideways`);
    await shoot(page, `upload-preview-${name}`);
    if (name !== "phone") continue;
    await page.getByRole("button", { name: "Upload 2 runs to semicolons" }).click();
    await page.locator(".success").getByText("Written: 2 new, 0 updated, 0 unchanged.").waitFor();
  }
  const { dicht, halb } = await runsOf("semicolons");
  assert.deepEqual([dicht.loss, halb.loss, halb.sparsity], [2.934, 2.781, 0.5]);
});

test("of a table of Weights & Biases the run that still runs is left out", async (t) => {
  await api("POST", "/v1/families", { name: "from-wandb", data_unit: "tokens" });
  const page = await upload(t, "from-wandb", "wandb.csv", { expected: /400 \(Bad Request\)|422/ });
  // Nothing is guessed: unknown columns are refused by name until the user says which tool wrote the table.
  await page.getByRole("alert").getByText("Name, State, Sweep, ID, config.total_params").waitFor();
  await shoot(page, "upload-refused");
  await page.getByLabel("Written by").selectOption("wandb");
  await page.getByLabel("Sparsity", { exact: true }).fill("config.sparsity_pct");
  await page.getByLabel("Data in tokens").fill("summary.tokens");
  await page.getByLabel("Sparsity is").selectOption("percent");
  await page.getByLabel("Columns as tags").fill("Sweep");
  await page.locator("main").getByText("2 runs can be written").waitFor();
  await page.locator("main").getByText("1 row: State is running").waitFor();
  // Each field shows which column it was taken from.
  await page.locator(".field", { has: page.getByLabel("Validation loss") }).getByText("from summary.val_loss").waitFor();
  await page.locator(".field", { has: page.getByLabel("Name of the run") }).getByText("from ID").waitFor();
  await shoot(page, "upload-wandb");
  await page.getByRole("button", { name: "Upload 2 runs to from-wandb" }).click();
  await page.locator(".success").getByText("Written: 2 new").waitFor();
  const { a1b2c3d4: run, b2c3d4e5: running } = await runsOf("from-wandb");
  assert.deepEqual([run.nonzero_params, run.sparsity, run.data, run.loss, run.tags], [1e6, 0.5, 3e10, 2.61, { Sweep: "first" }]);
  assert.equal(running, undefined);
});

test("an export of the service goes in unchanged, with tags and reasons, in every format", async (t) => {
  const runs = synthetic(30, "whole").map((run, i) => ({ ...run, ...(i % 7 === 0 && { exclusion_reason: 'diverged, "again"; see the log' }), tags: { sweep: "s,1", "a.b": "x" } }));
  await api("POST", "/v1/families", { name: "round-trip", data_unit: "tokens" });
  await api("POST", "/v1/families/round-trip/runs", runs);
  await api("POST", "/v1/families", { name: "round-trip-new", data_unit: "tokens" });
  const before = await runsOf("round-trip");
  const page = await open(t, browser);
  await page.goto(`${base}/?family=round-trip&view=upload`);
  let csv;
  for (const [name, type, pack] of /** @type {[string, string, (bytes: Buffer) => Buffer][]} */ ([["runs.csv", "text/csv", (bytes) => bytes], ["runs.ndjson.gz", "application/x-ndjson", gzipSync], ["runs.parquet", "application/vnd.apache.parquet", (bytes) => bytes]])) {
    const answer = await fetch(`${base}/v1/families/round-trip/runs`, { headers: { accept: type } });
    const buffer = pack(Buffer.from(await answer.arrayBuffer()));
    csv ??= { name, mimeType: type, buffer };
    await page.getByLabel(/Drop a file/).setInputFiles({ name, mimeType: "", buffer });
    await page.locator("main").getByText(`${name}: `).waitFor();
    await page.locator("main").getByText("30 runs can be written: 0 new, 0 updated, 30 unchanged.").waitFor();
    await page.getByRole("button", { name: "Upload 30 runs to round-trip" }).click();
    await page.locator(".success").getByText("Written: 0 new, 0 updated, 30 unchanged.").waitFor();
  }
  assert.deepEqual(await runsOf("round-trip"), before);

  const other = await upload(t, "round-trip-new", /** @type {any} */ (csv));
  await other.getByRole("table", { name: "The first 20 of 30 runs" }).getByText('diverged, "again"; see the log').first().waitFor();
  await other.getByRole("button", { name: "Upload 30 runs" }).click();
  await other.locator(".success").getByText("Written: 30 new, 0 updated, 0 unchanged.").waitFor();
  const values = (/** @type {Record<string, any>} */ all) => Object.values(all).map(({ id: _id, created_at: _created, updated_at: _updated, ...run }) => run).sort((a, b) => (a.external_id < b.external_id ? -1 : 1));
  assert.deepEqual(values(await runsOf("round-trip-new")), values(before));
});

test("fields are computed, rows chosen, and a wrong column is named beside its option", async (t) => {
  await api("POST", "/v1/families", { name: "computed", data_unit: "tokens" });
  const page = await upload(t, "computed", "expressions.csv", { expected: /400 \(Bad Request\)|422/ });
  await page.getByLabel("Named by").fill("run,seed");
  await page.getByLabel("Non-zero parameters").fill("dense");
  await page.getByLabel("Sparsity", { exact: true }).fill("1-dense/total");
  await page.getByLabel("Data in tokens").fill("steps*batch*1024");
  const loss = page.getByLabel("Validation loss");
  await loss.fill("evall/ppl");
  const beside = page.locator(".field", { has: loss });
  await page.getByLabel("Only rows where").fill('Stat == "finished"');
  await page.locator(".field", { has: page.getByLabel("Only rows where") }).getByText(/there is no column Stat; there are/).waitFor();
  assert.equal(await page.getByLabel("Only rows where").getAttribute("aria-invalid"), "true");
  await page.locator("main").getByText(/there is no column evall/).first().waitFor();
  await accessible(page);
  await shoot(page, "upload-wrong-column");
  await page.getByLabel("Only rows where").fill("State ==");
  await page.locator(".field", { has: page.getByLabel("Only rows where") }).locator(".hint.bad").waitFor();
  await loss.fill("ppl");
  await page.getByLabel("Only rows where").fill('State == "finished"');
  await beside.getByText(/there is no column ppl; there are/).waitFor();
  assert.equal(await loss.getAttribute("aria-invalid"), "true");

  // The page asks when typing ends, not at every letter, and drops earlier questions.
  let asked = 0;
  page.on("request", (request) => { asked += Number(request.url().includes("dry_run")); });
  await loss.clear();
  await loss.pressSequentially("ln(`eval/ppl`)", { delay: 20 });
  await page.locator("main").getByText("2 runs can be written").waitFor();
  assert.ok(asked <= 3, `asked ${asked} times`);
  await beside.getByText("from ln(`eval/ppl`)").waitFor();
  assert.equal(await loss.getAttribute("aria-invalid"), null);
  await page.locator("main").getByText("1 row: the condition does not hold").waitFor();
  await page.getByRole("button", { name: "Upload 2 runs to computed" }).click();
  await page.locator(".success").getByText("Written: 2 new").waitFor();
  const { "wide:1": run } = await runsOf("computed");
  assert.deepEqual([run.nonzero_params, run.sparsity, run.data, run.loss.toFixed(9)], [5e7, 0.5, 20000 * 512 * 1024, Math.log(12.3).toFixed(9)]);
});

test("a file that cannot be read says why; what the service does not take is its word", async (t) => {
  const page = await upload(t, "to-upload", { name: "broken.csv", mimeType: "text/csv", buffer: Buffer.from('external_id,nonzero_params,sparsity,data,loss\n"1,2\n') }, { expected: /400 \(Bad Request\)|413|422/ });
  await page.getByRole("alert").getByText(/line 2/).waitFor();
  await page.getByLabel(/Drop a file/).setInputFiles({ name: "runs.parquet", mimeType: "", buffer: Buffer.from("external_id\n") });
  await page.getByRole("alert").getByText(/Parquet/).waitFor();
  // The page does not limit the size of a file: the service says what is too large.
  await page.route("**/v1/families/to-upload/runs?dry_run=true", (route) => route.fulfill({ status: 413, contentType: "application/problem+json", body: JSON.stringify({ type: "/problems/too-large", title: "Too large", status: 413, detail: "the body is larger than --max-upload-bytes" }) }));
  await page.getByLabel(/Drop a file/).setInputFiles(path.join(import.meta.dirname, "files/semicolons.csv"));
  await page.getByRole("alert").getByText("the body is larger than --max-upload-bytes").waitFor();
});

test("a large file with a wrong option is answered, not cut off", async (t) => {
  const lines = synthetic(200_000, "large").map((run) => `${run.external_id},${run.nonzero_params},${run.sparsity},${run.data},${run.loss}`);
  const buffer = Buffer.from(`external_id,nonzero_params,sparsity,data,loss\n${lines.join("\n")}\n`);
  const page = await upload(t, "to-upload", { name: "large.csv", mimeType: "text/csv", buffer }, { expected: /400 \(Bad Request\)|422|ERR_/ });
  await page.locator("main").getByText("200,000 runs can be written").waitFor({ timeout: 120_000 });
  await page.getByLabel("Only rows where").fill("steps > 3");
  await page.locator(".field", { has: page.getByLabel("Only rows where") }).getByText(/there is no column steps/).waitFor();
  await page.getByLabel("Only rows where").fill("steps >");
  await page.locator(".field", { has: page.getByLabel("Only rows where") }).locator(".hint.bad").getByText(/expression|operator|ends|expected/i).waitFor();
});

test("a refit shows its progress, is cancelled, and is compared with the old law", async (t) => {
  await family("to-refit", synthetic(60, "sweep"), { bootstrap: 100, starts: 4 });
  const page = await open(t, browser);
  await page.goto(`${base}/?family=to-refit&view=laws`);
  await page.locator("main").getByText("Options", { exact: true }).click();
  await page.getByLabel("Starts").fill("4096");
  await page.getByLabel("Resamples").fill("10000");
  await page.getByRole("button", { name: "Refit", exact: true }).click();
  await page.locator("main").getByText(/^running: /).first().waitFor();
  await page.waitForFunction(() => /** @type {HTMLProgressElement} */ (document.querySelector("progress")).value > 0);
  await accessible(page);
  await shoot(page, "refit-running");
  // After a reload the page keeps watching.
  await page.reload();
  await page.locator("main").getByText(/^running: /).first().waitFor();
  await page.getByRole("button", { name: "Cancel this refit" }).click();
  await page.getByRole("paragraph").getByText("cancelled", { exact: true }).waitFor();
  const id = new URL(page.url()).searchParams.get("refit");
  assert.equal((await refitted(/** @type {string} */ (id))).state, "cancelled");

  await page.locator("main").getByText("Options", { exact: true }).click();
  await page.getByLabel("Seed").fill("7");
  await page.getByLabel("Resamples").fill("200");
  await page.getByRole("button", { name: "Refit", exact: true }).click();
  await page.locator("main").getByText("Law 2 is there. It answers from now on.").waitFor();
  await page.getByRole("table", { name: "Coefficients", exact: true }).waitFor();
  await page.locator("main").getByText(/Over \d+ questions within the runs the best sparsity moves by at most/).waitFor();
  await accessible(page);
  await shoot(page, "laws");
  // The quality of a fit is shown, also that of an earlier law.
  await page.getByRole("table", { name: /How well laws of the other runs predict/ }).waitFor();
  await page.getByRole("button", { name: "law 1", exact: true }).click();
  await page.getByRole("heading", { name: "Law 1, which does not answer" }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get("law"), "1");
  await page.getByText("Correlations of the coefficients").click();
  assert.equal(await page.getByRole("table", { name: /^Correlations/ }).getByRole("row").count(), 8);
  await accessible(page);
  await page.getByRole("button", { name: "Use this law: law 1" }).click();
  await page.locator("main").getByText("The active law is pinned").waitFor();
  assert.equal((await api("GET", "/v1/families/to-refit")).active_law.version, 1);
  await page.getByRole("button", { name: "Unpin" }).click();
  await page.locator("main").getByText("The newest fitted law answers").waitFor();
  assert.equal((await api("GET", "/v1/families/to-refit")).active_law.version, 2);
});

test("a forecast is registered, and scored when its run arrives", async (t) => {
  await family("to-forecast", synthetic(60, "sweep"), { bootstrap: 200, starts: 4 });
  const page = await open(t, browser);
  await page.goto(`${base}/?family=to-forecast&view=forecasts`);
  await page.locator("main").getByText("No forecast counts yet").waitFor();
  await page.getByLabel("Name that the run will have").fill("next-1");
  await page.getByRole("button", { name: "Register" }).click();
  await page.locator("main").getByText("Non-zero parameters is needed.").waitFor();
  await page.getByLabel("Non-zero parameters").fill("50M");
  await page.getByLabel("Sparsity").fill("75%");
  await page.getByLabel("Data in tokens").fill("30B");
  await page.getByRole("button", { name: "Register" }).click();
  await page.locator("main").getByText(/Registered: next-1 will reach \d\.\d+, a new run between/).waitFor();
  const [forecast] = (await api("GET", "/v1/families/to-forecast/forecasts")).items;
  assert.deepEqual([forecast.nonzero_params, forecast.sparsity, forecast.data], [5e7, 0.75, 3e10]);
  await api("POST", "/v1/families/to-forecast/runs", { external_id: "next-1", nonzero_params: 5e7, sparsity: 0.75, data: 3e10, loss: forecast.loss * 1.001 });
  await page.reload();
  await page.locator("main").getByText("Of 1 forecast that count, 1 had the run inside").waitFor();
  await drawn(page);
  assert.match(await page.getByRole("row", { name: /next-1/ }).first().innerText(), /inside/);
  await accessible(page);
  await shoot(page, "forecasts");
});

test("a plan is made from a form, and says what is in the way where there is none", async (t) => {
  const page = await open(t, browser, { expected: /422 \(/ });
  await page.goto(`${base}/?family=t5-c4&view=plans`);
  await page.getByLabel("Compute at most").fill("1e21");
  await page.getByLabel("Memory at most").fill("200 MB");
  await page.getByLabel("Stored as").selectOption("2:4");
  await page.getByLabel("What a step costs").selectOption("example-a100-2-4");
  await page.getByRole("button", { name: "Plan", exact: true }).click();
  await page.getByRole("heading", { name: "The least loss" }).waitFor();
  assert.match(await page.locator(".means").innerText(), /non-zero parameters, .* sparse.* by 2:4, trained on .* tokens/);
  await page.locator("main").getByText("What binds: memory_bytes").waitFor();
  await drawn(page);
  await accessible(page);
  await shoot(page, "plan");
  const shared = await open(t, browser);
  await shared.goto(page.url());
  await shared.locator("main").getByText("What binds: memory_bytes").waitFor();

  await page.getByLabel("Loss at most").fill("1.0");
  await page.getByRole("button", { name: "Plan", exact: true }).click();
  await page.locator("main").getByText("Each bound named above could alone make way").waitFor();
  await accessible(page);
  await shoot(page, "plan-infeasible");
});

test("runs are suggested that narrow an answer", async (t) => {
  const page = await open(t, browser);
  await page.goto(`${base}/?family=demo&view=next&n=50M&c=1e20`);
  await page.getByLabel("For all runs together").fill("1e20");
  await page.getByLabel("Runs at most").fill("2");
  await page.getByText("What may be run").click();
  await page.getByLabel("Sizes").fill("10M to 100M in 4");
  await page.getByLabel("Sparsities").fill("0, 50%, 75%");
  await page.getByLabel("Amounts of data").fill("10B, 30B, x");
  await page.getByRole("button", { name: "Suggest runs" }).click();
  await page.getByRole("alert").getByText("“x” is no number.").waitFor();
  await page.getByLabel("Amounts of data").fill("10B, 30B");
  await page.getByRole("button", { name: "Suggest runs" }).click();
  const found = page.getByRole("table", { name: "To be made together, the one that narrows most first" });
  await found.waitFor();
  const wanted = await api("POST", "/v1/families/demo/suggestions", {
    target: { optimal_sparsity: { nonzero_params: 5e7, compute: 1e20, flop_mode: "sparse" } }, compute: 1e20, runs: 2,
    grid: { nonzero_params: { from: 1e7, to: 1e8, steps: 4 }, sparsity: [0, 0.5, 0.75], data: [1e10, 3e10] },
  });
  assert.equal(await found.getByRole("row").count(), 1 + wanted.suggestions.length);
  const said = spaced(await page.locator(".means").innerText());
  assert.ok(said.includes(`${Number(wanted.expected_width_ratio.toPrecision(2))} times as wide as now`), said);
  await accessible(page);
  await shoot(page, "suggestions");
  const text = await page.locator("main section").last().innerText();
  const shared = await open(t, browser);
  await shared.goto(page.url());
  await shared.getByRole("table", { name: /To be made together/ }).waitFor();
  assert.equal(await shared.locator("main section").last().innerText(), text);
  // A coefficient, with the keyboard.
  await page.getByLabel("Answer", { exact: true }).selectOption("coefficient");
  await page.getByLabel("Coefficient", { exact: true }).selectOption("b_d");
  assert.equal(await page.getByLabel("Non-zero parameters").isVisible(), false);
  await page.getByLabel("Runs at most").focus();
  await page.keyboard.press("Enter");
  await page.getByText(/^The b_d is 0\./).waitFor();
});

test("levels with a name are asked about, forecast and run by their name", async (t) => {
  const plain = synthetic(60, "sweep");
  const patterned = plain.filter(({ sparsity }) => sparsity === 0.5).map((run) => ({ ...run, external_id: `${run.external_id}-2-4`, pattern: "2:4", loss: run.loss * 1.01 }));
  await family("by-pattern", [...plain, ...patterned], { form: "levels", levels: "pattern", bootstrap: 200, starts: 4 });
  // Between levels there is nothing to draw.
  const page = await open(t, browser, { expected: /status of 409/ });
  await page.goto(`${base}/?family=by-pattern&n=50M&c=1e20&s=50%25`);
  const asked = page.waitForResponse((response) => response.url().includes("/prediction?") && response.url().includes("level=2%3A4"));
  await page.getByLabel("Its pattern or recipe").selectOption("2:4");
  assert.equal((await asked).status(), 200);
  await page.locator("main").getByText("At 50 %: loss").waitFor();
  await accessible(page);

  await page.goto(`${base}/?family=by-pattern&view=forecasts`);
  await page.getByLabel("Name that the run will have").fill("next-1");
  await page.getByLabel("Non-zero parameters").fill("50M");
  await page.getByLabel("Sparsity").fill("50%");
  await page.getByLabel("Pattern or recipe").selectOption("2:4");
  await page.getByLabel("Data in tokens").fill("30B");
  await page.getByRole("button", { name: "Register" }).click();
  await page.getByRole("row", { name: /next-1/ }).getByText("50 % (2:4)").waitFor();

  await page.goto(`${base}/?family=by-pattern&view=next`);
  await page.getByRole("button", { name: "Suggest runs" }).click();
  await page.getByText(/what these runs narrow is by how much its loss/).waitFor({ state: "attached" });
  await page.getByLabel("Answer", { exact: true }).selectOption("coefficient");
  await page.getByLabel("Coefficient", { exact: true }).selectOption("a at 50\u00a0% (2:4)");
  await page.getByRole("button", { name: "Suggest runs" }).click();
  await page.getByText(/^The a at 50\s% \(2:4\) is /).waitFor();
  await page.getByRole("table", { name: /To be made together/ }).getByText("50 % (2:4)").first().waitFor();
  await accessible(page);
  await shoot(page, "levels");
});

test("a published law is chosen, imported and made to answer", async (t) => {
  await api("POST", "/v1/families", { name: "importing", data_unit: "tokens" });
  const page = await open(t, browser);
  await page.goto(`${base}/?family=importing&view=laws`);
  await page.getByText("Choose or type coefficients").click();
  await page.getByLabel("Coefficients", { exact: true }).selectOption("vit-jft");
  await page.getByText("That law counts data in images, this family in tokens: a_d must be converted.").waitFor();
  await page.getByLabel("Coefficients", { exact: true }).selectOption("t5-c4");
  await page.waitForFunction(() => /** @type {HTMLInputElement} */ (document.querySelector("[name=b_d]")).value.startsWith("0.2027"));
  assert.equal(new URL(page.url()).searchParams.get("import"), "t5-c4");
  await accessible(page);
  await shoot(page, "import");
  await page.getByRole("button", { name: "Import", exact: true }).click();
  await page.locator("main").getByText("Law 1 is imported, and answers, as there is no fit.").waitFor();
  const [mine, theirs] = [await api("GET", "/v1/families/importing/laws/1"), await api("GET", "/v1/families/t5-c4/laws/1")];
  assert.deepEqual(mine.coefficients, theirs.coefficients);
  assert.deepEqual([mine.reference, mine.fitted_at, mine.runs], [theirs.reference, theirs.fitted_at, theirs.runs]);
  // Typed coefficients, and a pinned law.
  await page.getByLabel("b_d", { exact: true }).fill("0.3");
  await page.getByLabel("Where they stand").fill("our report");
  await page.getByLabel("Use this law, and pin it").check();
  await page.getByRole("button", { name: "Import", exact: true }).click();
  await page.locator("main").getByText("Law 2 is imported, and answers.").waitFor();
  const family = await api("GET", "/v1/families/importing");
  assert.deepEqual([family.active_law.version, family.pinned], [2, true]);
  assert.equal((await api("GET", "/v1/families/importing/laws/2")).coefficients.b_d, 0.3);
});

test("hardware profiles are made, drawn, changed and deleted", async (t) => {
  const page = await open(t, browser, { expected: /409 \(Conflict\)|422 \(/ });
  await page.goto(base);
  await page.getByRole("link", { name: "Hardware" }).click();
  await page.getByRole("link", { name: "example-a100-2-4" }).click();
  await page.getByRole("heading", { name: "example-a100-2-4" }).waitFor();
  await drawn(page);
  await accessible(page);
  await page.getByRole("button", { name: "New profile" }).click();
  await page.getByLabel("Name").fill("example-a100-2-4");
  await page.getByLabel("What a step costs is given").selectOption("points");
  await page.getByLabel("Sparsity and cost, a point a line").fill("50% 0.8\n0.75 much");
  await page.getByText("“0.75 much” is no point").first().waitFor();
  await page.getByLabel("Sparsity and cost, a point a line").fill("50% 0.8\n0.75 0.55\n0.9, 0.4");
  await page.getByLabel("Patterns that it runs, one a line").fill("2:4 0.7\n1:4");
  await page.getByLabel("Where the numbers come from").fill("step times of July");
  await drawn(page);
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("alert").getByText("The hardware profile exists already").waitFor();
  await page.getByLabel("Name").fill("my-accelerator");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("heading", { name: "my-accelerator" }).waitFor();
  assert.equal(new URL(page.url()).searchParams.get("profile"), "my-accelerator");
  const made = await api("GET", "/v1/hardware-profiles/my-accelerator");
  assert.deepEqual(made.cost.points.filter((/** @type {number[]} */ p) => p[0] > 0), [[0.5, 0.8], [0.75, 0.55], [0.9, 0.4]]);
  assert.deepEqual([made.patterns, made.pattern_costs, made.source], [["2:4", "1:4"], { "2:4": 0.7 }, "step times of July"]);
  await drawn(page);
  await accessible(page);
  await shoot(page, "hardware");
  // An error from the service names the place.
  await page.getByLabel("Patterns that it runs, one a line").fill("4:2");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("alert").getByText(/patterns\/0/).waitFor();
  await page.getByLabel("Patterns that it runs, one a line").fill("2:4");
  await page.getByLabel("What a step costs is given").selectOption("share");
  await page.getByLabel("Share that zeros can save").fill("80%");
  await page.getByRole("button", { name: "Save" }).click();
  await page.locator("main").getByText("80 % prunable, 70 % of the ideal").waitFor();
  const changed = await api("GET", "/v1/hardware-profiles/my-accelerator");
  assert.deepEqual([changed.cost, changed.patterns, changed.pattern_costs], [{ prunable_share: 0.8, efficiency: 0.7 }, ["2:4"], {}]);
  // The profile can be used in questions at once, and no longer once it is deleted.
  await page.goto(`${base}/?family=demo`);
  await page.getByLabel("What a step costs").selectOption("my-accelerator");
  await page.locator("main").getByText(/Best pattern/).waitFor();
  await page.goto(`${base}/?view=hardware&profile=my-accelerator`);
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.waitForFunction(() => new URLSearchParams(location.search).get("profile") === null);
  assert.ok(!(await api("GET", "/v1/hardware-profiles")).items.some((/** @type {any} */ p) => p.name === "my-accelerator"));
});

test("errors are said, and can be tried again", async (t) => {
  const page = await open(t, browser, { expected: /404 \(Not Found\)|503|ERR_FAILED/ });
  await page.goto(`${base}/?family=nobody`);
  await page.getByRole("heading", { name: "There is no family nobody" }).waitFor();
  await accessible(page);
  await shoot(page, "unknown-family");
  let broken = true;
  await page.route("**/v1/families/demo/optimal-sparsity*", (route) => (broken ? route.fulfill({ status: 503, contentType: "application/problem+json", body: JSON.stringify({ type: "/problems/unavailable", title: "Unavailable", status: 503, detail: "the database cannot be reached for now" }) }) : route.continue()));
  await page.goto(`${base}/?family=demo`);
  await page.locator(".answer").getByText("the database cannot be reached for now").waitFor();
  await accessible(page);
  await shoot(page, "error");
  broken = false;
  await page.locator(".answer").getByRole("button", { name: "Try again" }).click();
  await page.locator(".headline").waitFor();
  await page.route("**/v1/families/demo", (route) => route.abort());
  await page.reload();
  await page.locator("main").getByText("The service cannot be reached").waitFor();
});

test("where the service wants a key it is asked for once, kept out of the address, and sent", async (t) => {
  const page = await open(t, browser, { expected: /401|403/ });
  /** @type {Set<string>} */
  const withKey = new Set();
  await page.route("**/v1/**", (route) => {
    const { authorization } = route.request().headers();
    const refuse = (/** @type {number} */ status, /** @type {string} */ kind, /** @type {string} */ title) =>
      route.fulfill({ status, contentType: "application/problem+json", body: JSON.stringify({ type: `/problems/${kind}`, title, status, detail: `${title}.` }) });
    if (authorization !== "Bearer right") return refuse(401, "unauthenticated", "No valid key was given");
    withKey.add(new URL(route.request().url()).pathname);
    if (route.request().method() === "POST") return refuse(403, "forbidden", "The key may only read");
    return route.continue();
  });
  await page.goto(`${base}/?family=demo&view=laws`);
  await page.getByRole("textbox", { name: "Key" }).fill("wrong");
  await page.getByRole("button", { name: "Use this key" }).click();
  await page.getByRole("dialog").getByText("The service did not accept the key.").waitFor();
  await accessible(page);
  await shoot(page, "key", false);
  await page.getByRole("textbox", { name: "Key" }).fill("right");
  await page.getByRole("button", { name: "Use this key" }).click();
  await page.getByRole("heading", { name: /which answers/ }).waitFor();
  assert.equal(await page.getByRole("dialog").count(), 0);
  assert.ok(!page.url().includes("right"));
  await page.getByRole("button", { name: "Refit", exact: true }).click();
  await page.getByRole("alert").getByText("The key may only read", { exact: true }).waitFor();
  // Event streams carry the key too.
  const refit = await api("POST", "/v1/families/to-refit/refits", { bootstrap: 100, starts: 1 });
  await page.goto(`${base}/?family=to-refit&view=laws&refit=${refit.id}`);
  await page.locator("main").getByText(/^Law \d+ is there\./).waitFor();
  assert.ok(withKey.has(`/v1/refits/${refit.id}/events`));
});

test("the first answer of a family of 1,000 runs", async (t) => {
  const times = [];
  for (let i = 0; i < 5; i += 1) {
    const page = await open(t, browser);
    await page.goto(`${base}/?family=thousand`);
    await page.locator(".headline").waitFor();
    const mark = await page.evaluate(() => performance.getEntriesByName("first-answer")[0]?.startTime);
    assert.ok(mark > 0);
    await drawn(page);
    times.push([mark, await page.evaluate(() => performance.now())]);
    if (i === 0) {
      await accessible(page);
      await shoot(page, "thousand");
    }
  }
  const middle = (/** @type {number} */ which) => times.map((pair) => pair[which]).sort((a, b) => a - b)[2].toFixed(0);
  t.diagnostic(`first answer after ${middle(0)} ms, all pictures after ${middle(1)} ms (medians of 5, cold cache)`);
  const page = await open(t, browser);
  await page.goto(`${base}/?family=thousand&view=runs`);
  await page.locator("main").getByText("1,000 runs, 0 excluded").waitFor();
  await page.locator("main").getByText("page 1 of 10").waitFor();
  await page.getByRole("button", { name: "Next" }).click();
  await page.locator("main").getByText("page 2 of 10").waitFor();
});

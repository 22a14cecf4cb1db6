/**
 * The page: shows what the address names; links within the page change the address without loading the page again.
 *
 * @module app
 */

import { Problem } from "./api.js";
import { showCaller } from "./caller.js";
import { el, empty, failure, fill, loading } from "./dom.js";
import { hearOtherTabs } from "./key.js";
import { go, params } from "./url.js";
import { showFamilies } from "./views/families.js";
import { showFamily } from "./views/family.js";

const main = /** @type {HTMLElement} */ (document.getElementById("main"));

/** Aborted when its view is left, to end what that view still has in progress. */
let current = new AbortController();

/** @param {boolean} moved Whether the user came here by a link within the page. */
async function show(moved) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  const family = params().get("family");
  fill(main, loading());
  if (moved) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  const hardware = !family && params().get("view") === "hardware";
  for (const link of document.querySelectorAll(".top nav a")) {
    const isHere = link.getAttribute("href") === (hardware ? "./?view=hardware" : family ? "" : "./");
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = family ? `${family} · Sparsity planner` : hardware ? "Hardware profiles · Sparsity planner" : "Sparsity planner";
  try {
    if (family) await showFamily(main, family, signal);
    else if (hardware) await (await import("./views/hardware.js")).showHardware(main, signal);
    else await showFamilies(main, signal);
  } catch (error) {
    if (signal.aborted) return;
    if (family && error instanceof Problem && error.status === 404) {
      document.title = "No such family · Sparsity planner";
      fill(main, el("h1", {}, `There is no family ${family}`), empty("It was deleted, or the address is not quite right."), el("p", { class: "buttons" }, el("a", { class: "button", href: "./" }, "All families")));
    } else fill(main, el("h1", {}, family ?? (hardware ? "Hardware profiles" : "Families")), failure(error, () => show(false)));
  }
}

addEventListener("popstate", () => show(true));

document.addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest("a");
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || link.origin !== location.origin || link.pathname !== location.pathname) return;
  event.preventDefault();
  // A link to a place on the present page: following it as a link would show the view anew.
  if (link.hash) {
    document.getElementById(link.hash.slice(1))?.focus();
    return;
  }
  go(link.pathname + link.search);
});

const THEME = "sparsity-planner-theme";
const theme = /** @type {HTMLSelectElement} */ (document.getElementById("theme"));

/** @param {string} name `auto`, `light` or `dark`. */
function useTheme(name) {
  theme.value = name;
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  dispatchEvent(new Event("themechange"));
}
theme.addEventListener("change", () => {
  localStorage.setItem(THEME, theme.value);
  useTheme(theme.value);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
useTheme(localStorage.getItem(THEME) ?? "auto");

hearOtherTabs();
const who = /** @type {HTMLElement} */ (document.getElementById("caller"));
addEventListener("keychange", () => showCaller(who));
showCaller(who);
show(false);

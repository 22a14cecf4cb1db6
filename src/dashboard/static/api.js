/**
 * The public API: requests, problem documents as errors, pages, events; asks the user for a key if the service requires one.
 *
 * @module api
 */

import { dialog, dialogButtons, el, field } from "./dom.js";
import { fromOtherTabs, key, use, whenTold } from "./key.js";

/** An answer that is a problem document (RFC 9457), or the lack of an answer. */
export class Problem extends Error {
  /**
   * @param {number} status 0 if the service could not be reached.
   * @param {{type?: string, title?: string, detail?: string, errors?: {pointer: string, detail: string}[]}} body
   */
  constructor(status, body) {
    super(body.detail ?? body.title ?? `the service answered ${status}`);
    this.status = status;
    this.title = body.title ?? "The service gave no answer";
    this.detail = body.detail ?? this.message;
    this.errors = body.errors ?? [];
    /** The last part of the problem's type, such as `no-law`. */
    this.kind = (body.type ?? "").split("/").pop() ?? "";
  }
}

/** @returns {boolean} Whether requests are sent with a key. */
export function hasKey() {
  return key() !== null;
}

/** @type {Promise<boolean> | null} A single dialog, however many requests lack a key. */
let asking = null;

/**
 * @param {string | null} refused The key that the service refused.
 * @returns {Promise<boolean>} Whether there is another key now.
 */
function askForKey(refused) {
  asking ??= newKey(refused).finally(() => { asking = null; });
  return asking;
}

/** @param {string | null} refused @returns {Promise<boolean>} */
async function newKey(refused) {
  if (await fromOtherTabs(refused)) return true;
  const keep = el("input", { type: "checkbox", name: "keep", value: "yes" });
  const asked = dialog(
    "An API key, please",
    el("p", {}, refused ? "The service did not accept the key." : "This service answers to those who have a key."),
    field("Key", el("input", { name: "key", type: "password", required: true, autocomplete: "off", autofocus: true })),
    el("p", {}, el("label", { class: "check" }, keep, "Keep it on this device")),
    el("p", { class: "foot" }, "Unless it is kept, it is in the browser's session storage, in the tabs of this page alone, until they are closed. Kept, it is in the browser's local storage, until you log out: only where nobody else uses the browser. It stands in no address, and is sent to this service alone."),
    dialogButtons("Use this key"),
  );
  // If the key is entered in another tab, this dialog is no longer needed.
  const stop = whenTold(() => /** @type {HTMLDialogElement | null} */ (keep.closest("dialog"))?.close("told"));
  const { outcome, data } = await asked;
  stop();
  if (outcome === "told") return true;
  const given = String(data.get("key") ?? "").trim();
  if (outcome !== "yes" || !given) return false;
  use(given, data.get("keep") === "yes");
  return true;
}

/** Header with the log position of a write; a read that must see the write sends it back. */
const READ_AFTER = "x-read-after";
/** Position of the last write of this page. */
let written = 0;

/**
 * @param {string} path
 * @param {RequestInit} init
 * @returns {Promise<Response>} A successful response.
 */
async function send(path, init) {
  for (;;) {
    const sent = key();
    const headers = { ...init.headers, ...(sent ? { Authorization: `Bearer ${sent}` } : {}), ...(written ? { [READ_AFTER]: String(written) } : {}) };
    /** @type {Response} */
    let response;
    try {
      // Relative to the page, as a proxy may expose the service under a path prefix.
      response = await fetch(new URL(`.${path}`, document.baseURI), { ...init, headers });
    } catch (error) {
      if (/** @type {Error} */ (error).name === "AbortError") throw error;
      throw new Problem(0, { title: "The service cannot be reached", detail: "Is it still running, and the network there?" });
    }
    written = Math.max(written, Number(response.headers.get(READ_AFTER)));
    if (response.ok) return response;
    if (response.status === 401 && (await askForKey(sent))) continue;
    const body = await response.json().catch(() => ({}));
    if (response.status === 403) body.title ??= "This key may not do that";
    throw new Problem(response.status, body);
  }
}

/** @typedef {Record<string, string | number | boolean | null | undefined>} Query */

/** @param {string} path @param {Query} [query] @returns {string} Without parameters that are null, undefined or empty. */
function withQuery(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}

/**
 * @param {string} path
 * @param {Query} [query]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function get(path, query, signal) {
  return (await send(withQuery(path, query), { signal, headers: { Accept: "application/json" } })).json();
}

/**
 * Fetches a picture of an answer.
 *
 * @overload
 * @param {string} path
 * @param {Query} query
 * @param {AbortSignal} signal
 * @returns {Promise<SVGElement>}
 */
/**
 * Fetches a picture of an answer as a file.
 *
 * @overload
 * @param {string} path
 * @param {Query} query
 * @param {AbortSignal} signal
 * @param {"svg" | "png"} kind
 * @returns {Promise<Blob>}
 */
/**
 * @param {string} path
 * @param {Query} query
 * @param {AbortSignal} signal
 * @param {"svg" | "png"} [kind]
 * @returns {Promise<any>}
 */
export async function getPicture(path, query, signal, kind) {
  const type = kind === "png" ? "image/png" : "image/svg+xml";
  const response = await send(withQuery(path, query), { signal, headers: { Accept: type } });
  if (kind) return response.blob();
  const { documentElement } = new DOMParser().parseFromString(await response.text(), "image/svg+xml");
  // Moved instead of copied: a picture has thousands of elements.
  return document.adoptNode(documentElement);
}

/**
 * @param {"POST" | "PATCH" | "PUT" | "DELETE"} method
 * @param {string} path
 * @param {unknown} [body] Sent as JSON.
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>} Null if the answer has no body.
 */
export async function change(method, path, body, signal) {
  const json = body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await send(path, { method, signal, ...json });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/**
 * Sends a file as it is. The page does not read it: the browser takes it directly from the disk.
 *
 * @param {string} path
 * @param {[string, string][]} query Names may occur several times.
 * @param {Blob} file
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 * @returns {Promise<any>}
 */
export async function sendFile(path, query, file, headers, signal) {
  try {
    return await (await send(`${path}?${new URLSearchParams(query)}`, { method: "POST", signal, headers, body: file })).json();
  } catch (error) {
    // Browsers report a file that they cannot read in the same way as a service that they cannot reach.
    if (error instanceof Problem && error.status === 0 && (await unreadable(file))) {
      throw new Problem(0, { title: "The file cannot be read", detail: "It changed after it was chosen, or is gone: choose it again." });
    }
    throw error;
  }
}

/** @param {Blob} file @returns {Promise<boolean>} */
function unreadable(file) {
  return file.slice(0, 1).arrayBuffer().then(() => false, () => true);
}

/**
 * Fetches the items of a list, page by page.
 *
 * @param {string} path
 * @param {Query} query
 * @param {{most: number, signal?: AbortSignal}} limits Where to stop.
 * @returns {Promise<{items: any[], more: boolean, first: any}>} `first` is the first page.
 */
export async function list(path, query, { most, signal }) {
  const items = [];
  let first = null;
  let cursor;
  do {
    const page = await get(path, { limit: Math.min(1000, most), ...query, cursor }, signal);
    first ??= page;
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < most);
  return { items, more: Boolean(cursor), first };
}

/**
 * Server-sent events, read with fetch because an EventSource cannot send a key.
 *
 * @param {string} path
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{kind: string, data: any}>} Each event with its type.
 */
export async function* events(path, signal) {
  const response = await send(path, { signal, headers: { Accept: "text/event-stream" } });
  const reader = /** @type {ReadableStream<any>} */ (response.body).pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value.replaceAll("\r\n", "\n");
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      const lines = buffer.slice(0, end).split("\n");
      buffer = buffer.slice(end + 2);
      /** @param {string} field @returns {string[]} */
      const values = (field) => lines.filter((line) => line.startsWith(field)).map((line) => line.slice(field.length).trimStart());
      const data = values("data:");
      // Comments that only keep the connection alive have no data.
      if (data.length > 0) yield { kind: values("event:")[0] ?? "", data: JSON.parse(data.join("\n")) };
    }
  }
}

/** @param {string} family @param {string} [rest] @returns {string} The API path of a family. */
export function familyPath(family, rest = "") {
  return `/v1/families/${encodeURIComponent(family)}${rest}`;
}

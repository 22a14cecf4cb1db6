/**
 * The public API: requests, problems as errors, pages, events; a key where the service asks for one.
 *
 * @module api
 */

import { dialog, dialogButtons, el, field } from "./dom.js";

/** An answer that is a problem (RFC 9457), or no answer at all. */
export class Problem extends Error {
  /**
   * @param {number} status 0 where the service could not be reached.
   * @param {{type?: string, title?: string, detail?: string, errors?: {pointer: string, detail: string}[]}} body
   */
  constructor(status, body) {
    super(body.detail ?? body.title ?? `the service answered ${status}`);
    this.status = status;
    this.title = body.title ?? "The service gave no answer";
    this.detail = body.detail ?? this.message;
    this.errors = body.errors ?? [];
    /** Such as `no-law`; the last part of the problem's type. */
    this.kind = (body.type ?? "").split("/").pop() ?? "";
  }
}

const KEY = "sparsity-planner-key";

/** @returns {Record<string, string>} */
function authorization() {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** @returns {boolean} Whether the service was given a key. */
export function hasKey() {
  return sessionStorage.getItem(KEY) !== null;
}

/** @type {Promise<boolean> | null} One dialog for however many requests lack a key. */
let asking = null;

/** @returns {Promise<boolean>} Whether a key was given. */
function askForKey() {
  asking ??= dialog(
    "An API key, please",
    el("p", {}, sessionStorage.getItem(KEY) ? "The service did not accept the key." : "This service answers to those who have a key.", " A key is kept until this tab is closed, and stands in no address."),
    field("Key", el("input", { name: "key", type: "password", required: true, autocomplete: "off", autofocus: true })),
    dialogButtons("Use this key"),
  ).then(({ outcome, data }) => {
    asking = null;
    if (outcome !== "yes") return false;
    sessionStorage.setItem(KEY, String(data.get("key")).trim());
    return true;
  });
  return asking;
}

/** Header with the position of a write, which a read that is to see it sends back. */
const READ_AFTER = "x-read-after";
/** Of the last write of this page. */
let written = 0;

/**
 * @param {string} path
 * @param {RequestInit} init
 * @returns {Promise<Response>} A successful one.
 */
async function send(path, init) {
  for (;;) {
    const headers = { ...init.headers, ...authorization(), ...(written ? { [READ_AFTER]: String(written) } : {}) };
    /** @type {Response} */
    let response;
    try {
      // Below the page: the service may stand below a path of a proxy.
      response = await fetch(new URL(`.${path}`, document.baseURI), { ...init, headers });
    } catch (error) {
      if (/** @type {Error} */ (error).name === "AbortError") throw error;
      throw new Problem(0, { title: "The service cannot be reached", detail: "Is it still running, and the network there?" });
    }
    written = Math.max(written, Number(response.headers.get(READ_AFTER)));
    if (response.ok) return response;
    if (response.status === 401 && (await askForKey())) continue;
    const body = await response.json().catch(() => ({}));
    if (response.status === 403) body.title ??= "This key may not do that";
    throw new Problem(response.status, body);
  }
}

/** @typedef {Record<string, string | number | boolean | null | undefined>} Query */

/** @param {string} path @param {Query} [query] @returns {string} Without what is null or undefined. */
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
 * A picture of an answer.
 *
 * @overload
 * @param {string} path
 * @param {Query} query
 * @param {AbortSignal} signal
 * @returns {Promise<SVGElement>}
 */
/**
 * The same as a file.
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
  return document.importNode(documentElement, true);
}

/**
 * @param {"POST" | "PATCH" | "PUT" | "DELETE"} method
 * @param {string} path
 * @param {unknown} [body] Sent as JSON.
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>} Null where the answer has no body.
 */
export async function change(method, path, body, signal) {
  const json = body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await send(path, { method, signal, ...json });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/**
 * Sends a file as it is. It is not read here: the browser takes it from where it lies.
 *
 * @param {string} path
 * @param {[string, string][]} query Names may stand there several times.
 * @param {Blob} file
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 * @returns {Promise<any>}
 */
export async function sendFile(path, query, file, headers, signal) {
  try {
    return await (await send(`${path}?${new URLSearchParams(query)}`, { method: "POST", signal, headers, body: file })).json();
  } catch (error) {
    // A browser says the same of a file that it cannot read as of a service that it cannot reach.
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
 * The items of a list, page by page.
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
 * Server-sent events, by fetch: an EventSource cannot send a key.
 *
 * @param {string} path
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<any>} The data of each event.
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
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length > 0) yield JSON.parse(data.join("\n"));
    }
  }
}

/** @param {string} family @param {string} [rest] @returns {string} Path of a family. */
export function familyPath(family, rest = "") {
  return `/v1/families/${encodeURIComponent(family)}${rest}`;
}

/**
 * Files that the browser saves.
 *
 * @module save
 */

import { el } from "./dom.js";

/** How long the browser may take to start saving a file. */
const KEPT_MS = 60_000;

/** @param {Blob} blob @param {string} name */
export function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name, hidden: true });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
}

/** Pixels of a saved picture per pixel of the page. */
const FINE = 2;

/**
 * @param {string} svg
 * @param {number} width In pixels of the page.
 * @param {number} height
 * @returns {Promise<Blob>}
 */
export async function toPng(svg, width, height) {
  const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    const image = new Image(width * FINE, height * FINE);
    image.src = url;
    await image.decode();
    const canvas = /** @type {HTMLCanvasElement} */ (el("canvas", { width: width * FINE, height: height * FINE }));
    canvas.getContext("2d")?.drawImage(image, 0, 0, width * FINE, height * FINE);
    return await new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The picture cannot be made into a PNG."))), "image/png"));
  } finally {
    URL.revokeObjectURL(url);
  }
}

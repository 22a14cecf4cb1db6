/**
 * CSV (RFC 4180): quoted fields may hold separators, quotes and line ends.
 *
 * @module csv
 */

/**
 * Reads a table. Empty lines are skipped.
 *
 * @param {string} text
 * @param {string} [separator] Found in the first line unless given.
 * @returns {string[][]} Fields by record.
 * @throws {SyntaxError} Where a quote is never closed, or text follows one.
 */
export function parseCsv(text, separator = findSeparator(text)) {
  /** @type {string[][]} */
  const records = [];
  /** @type {string[]} */
  let record = [];
  let at = text.startsWith("\uFEFF") ? 1 : 0;
  let line = 1;
  const endRecord = () => {
    if (record.length > 1 || record[0] !== "") records.push(record);
    record = [];
  };
  while (at < text.length) {
    let value = "";
    if (text[at] === '"') {
      const opened = line;
      for (;;) {
        const quote = text.indexOf('"', at + 1);
        if (quote < 0) throw new SyntaxError(`the quote that opens in line ${opened} is never closed`);
        const part = text.slice(at + 1, quote);
        value += part;
        line += part.split("\n").length - 1;
        at = quote + 1;
        if (text[at] !== '"') break;
        value += '"';
      }
      if (at < text.length && text[at] !== separator && text[at] !== "\n" && text[at] !== "\r") {
        throw new SyntaxError(`text follows a closing quote in line ${line}`);
      }
    } else {
      let end = at;
      while (end < text.length && text[end] !== separator && text[end] !== "\n" && text[end] !== "\r") end += 1;
      value = text.slice(at, end);
      at = end;
    }
    record.push(value);
    if (text[at] === separator) {
      at += 1;
      // A separator at the very end is followed by an empty field.
      if (at === text.length) record.push("");
      continue;
    }
    if (text[at] === "\r") at += 1;
    if (text[at] === "\n") at += 1;
    line += 1;
    endRecord();
  }
  if (record.length > 0) endRecord();
  return records;
}

/** @param {string} text @returns {string} The likeliest of `,`, `;` and tab in the first line, outside quotes. */
function findSeparator(text) {
  const first = text.slice(0, Math.max(0, text.search(/[\r\n]|$/))).replace(/"[^"]*"/g, "");
  const counts = [",", ";", "\t"].map((c) => /** @type {[string, number]} */ ([c, first.split(c).length]));
  return counts.reduce((best, next) => (next[1] > best[1] ? next : best))[0];
}

// Prices out of text: long CSV (id, date, close), wide CSV (date and a column a series), or bare closes. Every close
// remembers its line, so that whoever finds fault with it, here or in the service, can name the line.

const IDS = ["id", "ticker", "symbol"];
const OHLC = ["open", "high", "low"];

/**
 * Series, faults and notes of a text. A series has id, closes, dates (or null), bars (open, high and low, or null) and
 * the line of each close, from 1.
 */
export function parsePrices(text, name) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/).map((line, at) => ({ line, number: at + 1 }));
  const filled = lines.filter(({ line }) => line.trim() && !line.startsWith("#"));
  if (!filled.length) return fault(1, "there is nothing in it; give closes, or CSV with a header");
  const delimiter = [",", ";", "\t"].find((each) => filled[0].line.includes(each)) ?? null;
  if (!/[A-Za-z_]/.test(filled[0].line.replace(/\d[eE][+-]?\d/g, ""))) return bare(filled, name, delimiter);
  const head = cells(filled[0].line, delimiter).map((each) => each.toLowerCase());
  const found = head.includes("close")
    ? long(filled, head, delimiter, name) : wide(filled, cells(filled[0].line, delimiter), head, delimiter);
  return found.faults.length ? found : finished(found);
}

const fault = (line, text) => ({ series: [], faults: [{ line, text }], notes: [] });

/** The cells of a line; without a delimiter they stand apart by blanks. */
function cells(line, delimiter) {
  if (!delimiter) return line.trim().split(/\s+/);
  if (!line.includes('"')) return line.split(delimiter).map((each) => each.trim());
  const found = [];
  let cell = "", within = false;
  for (let at = 0; at < line.length; at += 1) {
    if (line[at] === '"' && within && line[at + 1] === '"') cell += line[(at += 1)];
    else if (line[at] === '"') within = !within;
    else if (line[at] === delimiter && !within) { found.push(cell.trim()); cell = ""; }
    else cell += line[at];
  }
  return [...found, cell.trim()];
}

function bare(filled, name, delimiter) {
  const one = { id: name, closes: [], dates: null, bars: null, lines: [] };
  const faults = [];
  for (const { line, number } of filled) {
    for (const cell of cells(line, delimiter).filter(Boolean)) {
      const value = numberOf(cell);
      if (value === null) faults.push({ line: number, text: notANumber(cell) });
      else { one.closes.push(value); one.lines.push(number); }
    }
  }
  return { series: [one], faults, notes: [] };
}

function long(filled, head, delimiter, name) {
  const at = Object.fromEntries(["close", "date", ...OHLC].map((each) => [each, head.indexOf(each)]));
  const id = head.findIndex((each) => IDS.includes(each));
  const found = { rows: new Map(), faults: [], notes: [], blanks: 0, bars: OHLC.every((each) => at[each] >= 0) };
  if (head.includes("adj close")) found.notes.push("Close is read, Adj Close is not");
  for (const { line, number } of filled.slice(1)) {
    const row = cells(line, delimiter);
    if (row.length !== head.length) {
      found.faults.push({ line: number, text: `has ${row.length} cells; the header has ${head.length}` });
      continue;
    }
    const key = id < 0 ? name : row[id];
    if (!key) found.faults.push({ line: number, text: `has no ${head[id]}; each row names its series` });
    else take(found, key, number, at.date < 0 ? null : row[at.date], row[at.close], found.bars ? OHLC.map((each) => row[at[each]]) : null);
  }
  return found;
}

function wide(filled, names, head, delimiter) {
  const date = head.indexOf("date");
  const found = { rows: new Map(), faults: [], notes: [], blanks: 0, bars: false };
  if (date < 0) return fault(filled[0].number, `the header is ${names.slice(0, 5).join(", ")}; it has a column close, or date and a column for each series`);
  for (const { line, number } of filled.slice(1)) {
    const row = cells(line, delimiter);
    if (row.length !== head.length) {
      found.faults.push({ line: number, text: `has ${row.length} cells; the header has ${head.length}` });
      continue;
    }
    names.forEach((key, place) => place !== date && take(found, key, number, row[date], row[place], null));
  }
  return found;
}

/** One row of one series; a blank close is a day without trading and left out. */
function take(found, key, line, date, cell, bar) {
  if (cell === "") { found.blanks += 1; return; }
  const close = numberOf(cell);
  if (close === null) { found.faults.push({ line, text: notANumber(cell) }); return; }
  const day = date === null ? null : dayOf(date);
  if (date !== null && day === null) {
    found.faults.push({ line, text: `date ${shown(date)} is none; a date is like 2026-11-20` });
    return;
  }
  const bars = bar?.map(numberOf) ?? null;
  if (!found.rows.has(key)) found.rows.set(key, []);
  found.rows.get(key).push({ line, day, close, bars: bars?.every((each) => each !== null) ? bars : null });
}

function finished(found) {
  const series = [];
  for (const [id, rows] of found.rows) {
    const dated = rows[0].day !== null;
    if (dated) rows.sort((one, other) => (one.day < other.day ? -1 : one.day > other.day ? 1 : one.line - other.line));
    for (let at = 1; dated && at < rows.length; at += 1) {
      if (rows[at].day === rows[at - 1].day) {
        const text = `${id} has ${rows[at].day} a second time, after line ${rows[at - 1].line}; a day has one close`;
        found.faults.push({ line: rows[at].line, text });
      }
    }
    series.push({
      id, closes: rows.map((row) => row.close), dates: dated ? rows.map((row) => row.day) : null,
      bars: rows.every((row) => row.bars) ? rows.map((row) => row.bars) : null, lines: rows.map((row) => row.line),
    });
  }
  if (found.blanks) found.notes.push(`${found.blanks} blank closes left out, as days without trading`);
  if (!series.length && !found.faults.length) return fault(2, "there is no close behind the header");
  return { series, faults: found.faults, notes: found.notes };
}

/** A number as it is written, or null; what the service thinks of it, it says itself. */
const numberOf = (cell) => (/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(cell) ? Number(cell) : null);

const notANumber = (cell) => `close ${shown(cell)} is no number; a close is like 181.20`;

const shown = (cell) => (cell.length > 40 ? `"${cell.slice(0, 40)}…"` : `"${cell}"`);

function dayOf(text) {
  const found = /^(\d{4})-(\d{2})-(\d{2})(?:[T ].*)?$/.exec(text);
  if (!found) return null;
  const day = new Date(Date.UTC(+found[1], +found[2] - 1, +found[3]));
  return day.getUTCMonth() === +found[2] - 1 && day.getUTCDate() === +found[3] ? text.slice(0, 10) : null;
}

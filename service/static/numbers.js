// Numbers as people read them.

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A price in as many digits as it needs: 181.20, 0.03125. */
export function price(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 10) return value.toFixed(2);
  if (size >= 0.1) return value.toFixed(4);
  return size >= 1e-4 ? value.toPrecision(4) : value.toExponential(3);
}

export const count = (value) => (Number.isFinite(value) ? grouped.format(value) : "–");

export const fixed = (value, digits = 2) => (Number.isFinite(value) ? minus(value.toFixed(digits)) : "–");

/** A signed percentage of one number by another: +0.42 %. */
export function change(value, from) {
  const percent = 100 * (value / from - 1);
  return Number.isFinite(percent) ? `${percent >= 0 ? "+" : ""}${minus(percent.toFixed(2))} %` : "–";
}

export const signed = (value, digits = 2) =>
  Number.isFinite(value) ? `${value > 0 ? "+" : ""}${minus(value.toFixed(digits))}` : "–";

/** Seconds as people say them. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 2 : 0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** A moment of the API's, in UTC: 2026-11-25 19:23:01. */
export const moment = (iso) => (iso ? iso.replace("T", " ").replace(/\.\d+Z$|Z$/, "") : "–");

const minus = (text) => text.replace("-", "−");

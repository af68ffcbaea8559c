// Where prices come from: packaged ones, a file, a paste. The last ones stay for the other pages of this tab.
import { json, call, takeFiles, tell } from "./api.js";
import { byId, fill, h } from "./dom.js";
import { parsePrices } from "./prices.js";

const KEPT = "nextday.prices";
const MOST_KEPT = 2_000_000;
const MOST_BYTES = 16 * 1024 * 1024;
const FIRST = "ibm";

/** Let somebody choose prices; `use` gets the series that are without fault, and again with each other choice. */
export async function chooser(use) {
  let sources = new Map();
  const take = (text, name, origin) => {
    const { series, faults, notes } = parsePrices(text, name);
    fill(byId("origin"), [origin, ...notes].join(". "));
    if (faults.length) return tellFaults(faults, name);
    fill(byId("faults"));
    keep({ text, name, origin });
    return use(series);
  };
  const takeExample = async (name) => {
    try {
      const text = await (await call(`/pages/examples/${encodeURIComponent(name)}.csv`)).text();
      const each = sources.get(name);
      take(text, name.toUpperCase(), each ? `${each.title}. Source: ${each.source}` : name);
    } catch (error) {
      tell(byId("faults"), error);
    }
  };
  byId("example").addEventListener("change", (event) => {
    remember("example", event.target.value);
    if (event.target.value) takeExample(event.target.value);
  });
  byId("paste-use").addEventListener("click", () => picked(byId("paste").value, "pasted", "Pasted closes"));
  takeFiles(async (file) => {
    if (file.size > MOST_BYTES) return tellFaults([{ line: null, text: "is larger than 16 MiB; submit it as a job" }], file.name);
    return picked(await file.text(), file.name.replace(/\.\w+$/, ""), `File ${file.name}`);
  });
  function picked(text, name, origin) {
    byId("example").value = "";
    remember("example", "");
    take(text, name, origin);
  }
  try {
    const { examples } = await json("/pages/examples");
    sources = new Map(examples.map((each) => [each.name, each]));
    fill(byId("example"), h("option", { value: "" }, "–"), groups(examples));
  } catch (error) {
    tell(byId("faults"), error);
  }
  const asked = new URLSearchParams(location.search).get("example");
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  if (!asked && kept) {
    take(kept.text, kept.name, kept.origin);
  } else {
    byId("example").value = asked || FIRST;
    await takeExample(asked || FIRST);
  }
}

function groups(examples) {
  const packaged = (each) => each.name.startsWith("sp500-");
  const group = (label, items) =>
    items.length ? h("optgroup", { label }, items.map((each) => h("option", { value: each.name }, each.title))) : null;
  return [group("Real prices that ship with Nextday", examples.filter((each) => !packaged(each))),
    group("S&P 500 stocks, packaged with skfolio", examples.filter(packaged))];
}

function tellFaults(faults, name) {
  const shown = faults.slice(0, 20).map(({ line, text }) =>
    h("li", {}, line ? h("strong", {}, `line ${line} `) : null, text));
  const more = faults.length > 20 ? h("li", {}, `and ${faults.length - 20} more`) : null;
  fill(byId("faults"), h("div", { class: "notice bad" }, h("p", {}, h("strong", {}, `${name} cannot be read`)), h("ul", {}, shown, more)));
}

function keep(given) {
  if (given.text.length > MOST_KEPT) return sessionStorage.removeItem(KEPT);
  return sessionStorage.setItem(KEPT, JSON.stringify(given));
}

/** A choice in the address, so that it can be linked to. */
export function remember(name, value) {
  const address = new URL(location.href);
  if (value) address.searchParams.set(name, value);
  else address.searchParams.delete(name);
  history.replaceState(null, "", address);
}

/** The choice of the address for a select, where it offers that. */
export function recall(select) {
  const value = new URLSearchParams(location.search).get(select.id);
  if (value && [...select.options].some((each) => each.value === value)) select.value = value;
}

/** A request's series as they are sent. */
export const sent = (series) =>
  series.map(({ id, closes, dates }) => ({ id, ...(dates ? { as_of: dates.at(-1) } : {}), closes }));

/** From a pointer into a request to the line of the prices: "line 17 (IBM)". */
export const lineOf = (series) => (pointer) => {
  const found = /^\/series\/(\d+)(?:\/closes\/(\d+))?/.exec(pointer);
  const one = found && series[+found[1]];
  if (!one) return null;
  if (found[2] !== undefined) return `line ${one.lines[+found[2]]} (${one.id})`;
  const [first, last] = [one.lines[0], one.lines.at(-1)];
  return first === last ? `line ${first} (${one.id})` : `${one.id}, lines ${first} to ${last}`;
};

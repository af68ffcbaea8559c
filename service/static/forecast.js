// Tomorrow's close: history and a fan of quantiles for each series.
import { curl, json, showCurl, tell } from "./api.js";
import { axis, draw, faint, forget, narrow } from "./charts.js";
import { byId, fill, h, offerModels, table } from "./dom.js";
import { change, price } from "./numbers.js";
import { chooser, lineOf, recall, remember, sent } from "./source.js";

const PATH = "/v1/forecasts";
const NAMED = ["0.05", "0.5", "0.95"];
const MOST_CHARTS = 8;
const MOST_ROWS = 500;
const BANDS = [["0.01", "0.99", 0.14], ["0.05", "0.95", 0.2], ["0.1", "0.9", 0.24], ["0.25", "0.75", 0.34]];
const now = { series: [], answer: null, card: null, asking: null };

async function ask() {
  if (!now.series.length) return;
  now.asking?.abort();
  const asking = (now.asking = new AbortController());
  const horizon = Number(byId("horizon").value);
  const body = JSON.stringify({
    series: sent(now.series), model: byId("model").value, ...(horizon > 1 ? { horizon } : {}),
  });
  const how = { method: "POST", body, type: "application/json" };
  try {
    now.answer = await json(PATH, { ...how, signal: asking.signal });
    now.card = await json(`/v1/models/${encodeURIComponent(now.answer.model.name)}`, { signal: asking.signal }).catch(() => null);
    fill(byId("problem"));
    show();
  } catch (error) {
    tell(byId("problem"), error, lineOf(now.series));
    if (error.name === "AbortError") return;
    clear();
  }
  showCurl([["These forecasts", curl(PATH, how)], ["The model's card", curl(`/v1/models/${byId("model").value}`)]]);
}

function clear() {
  forget([...document.querySelectorAll("#series .chart")]);
  fill(byId("series"));
  byId("summary").hidden = true;
}

function show() {
  const { forecasts } = now.answer;
  forget([...document.querySelectorAll("#series .chart")]);
  const cards = forecasts.slice(0, MOST_CHARTS).map((each, at) => card(each, now.series[at]));
  fill(byId("series"), cards.map(({ node }) => node));
  byId("series").classList.toggle("single", cards.length === 1);
  for (const each of cards) each.draw();
  showTable(forecasts);
}

function card(forecast, series) {
  const days = daysOf(forecast);
  const chart = h("div", { class: "chart" });
  const node = h("article", { class: "card" },
    h("header", {},
      h("h2", {}, forecast.id),
      h("p", { class: "quiet" }, `${series.closes.length} closes${forecast.as_of ? `, the last of ${forecast.as_of}` : ""}`)),
    h("dl", { class: "figures" },
      figure("Last close", price(forecast.last_close)),
      figure("Median tomorrow", price(forecast.median), change(forecast.median, forecast.last_close)),
      figure("5 %", price(forecast.quantiles["0.05"]), change(forecast.quantiles["0.05"], forecast.last_close)),
      figure("95 %", price(forecast.quantiles["0.95"]), change(forecast.quantiles["0.95"], forecast.last_close))),
    h("p", { class: "words" }, inWords(days)),
    chart,
    h("details", {}, h("summary", {}, "All quantiles"), quantiles(days)));
  return { node, draw: () => draw(chart, described(forecast), (colours) => fan(forecast, series, days, colours)) };
}

const figure = (name, value, beside) =>
  h("div", {}, h("dt", {}, name), h("dd", {}, value, beside ? h("span", { class: "quiet" }, ` ${beside}`) : null));

const daysOf = (forecast) =>
  forecast.days ?? [{ day: 1, median: forecast.median, quantiles: forecast.quantiles }];

/** The 90 % band as a sentence: a twentieth of the days lies on each side of it. */
function inWords(days) {
  const { quantiles: first } = days[0];
  const last = days.at(-1);
  const said = [h("strong", {}, `9 days of 10 it closes between ${price(first["0.05"])} and ${price(first["0.95"])}`),
    "; 1 day of 20 lower, 1 of 20 higher."];
  if (last.day > 1) {
    said.push(` After ${last.day} days: between ${price(last.quantiles["0.05"])} and ${price(last.quantiles["0.95"])}.`);
  }
  const measured = now.card?.card.scores["us-stocks"]?.[now.card.card.name]?.coverage_90;
  if (measured) said.push(h("span", { class: "quiet" }, ` Measured on US stocks since 2016: ${measured.toFixed(1)} of 100 days.`));
  return said;
}

const described = (forecast) =>
  `Closes of ${forecast.id} and the fan of the next: median ${price(forecast.median)}, 90 % band from ` +
  `${price(forecast.quantiles["0.05"])} to ${price(forecast.quantiles["0.95"])}`;

function quantiles(days) {
  const node = h("table", {});
  const levels = Object.keys(days[0].quantiles);
  table(node, ["days ahead", ...levels.map((each) => `${+(100 * each).toFixed(2)} %`)],
    days.map(({ day, quantiles: each }) => [day, ...levels.map((level) => price(each[level]))]));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "All quantiles" }, node);
}

/** History at the left, what comes at the right, on one axis of prices. */
function fan(forecast, series, days, colours) {
  const shown = Number(byId("span").value) || series.closes.length;
  const from = Math.max(0, series.closes.length - shown);
  const closes = series.closes.slice(from);
  const x = series.dates ? series.dates.slice(from) : closes.map((_, at) => from + at + 1);
  const ahead = [0, ...days.map(({ day }) => day)];
  const at = (level) => [forecast.last_close, ...days.map((each) => each.quantiles[level])];
  const right = { xaxis: "x2", mode: "lines", hoverinfo: "skip", showlegend: false };
  const bands = BANDS.filter(([low]) => low in days[0].quantiles).flatMap(([low, high, share]) => [
    { ...right, x: ahead, y: at(low), line: { width: 0 } },
    { ...right, x: ahead, y: at(high), line: { width: 0 }, fill: "tonexty", fillcolor: faint(colours.blue, share) },
  ]);
  const levels = Object.keys(days[0].quantiles).reverse().map((level) => ({
    ...right, x: ahead.slice(1), y: at(level).slice(1), hoverinfo: "all", mode: NAMED.includes(level) ? "markers+text" : "markers",
    text: ahead.slice(1).map((_, place) => (place === days.length - 1 ? `${+(100 * level).toFixed(2)} %` : "")), textposition: "middle right", cliponaxis: false, textfont: { size: 11, color: colours.quiet },
    marker: { size: level === "0.5" ? 6 : 3, color: colours.blue }, hovertemplate: `${+(100 * level).toFixed(2)} %: %{y:.6~g}<extra></extra>`,
  }));
  const median = { ...right, x: ahead, y: at("0.5"), line: { color: colours.blue, width: 2 } };
  return {
    data: [history(series, from, x, closes, colours), ...bands, median, ...levels],
    layout: {
      showlegend: false,
      xaxis: axis(series.dates ? "day" : "day, from the first", { domain: [0, narrow() ? 0.56 : 0.7], rangeslider: { visible: false }, nticks: narrow() ? 3 : 6, tickangle: 0, ...(narrow() && series.dates ? { tickformat: "%b<br>%Y", nticks: 2 } : {}), type: series.dates ? "date" : "linear",
        rangebreaks: series.dates && weekdays(x) ? [{ bounds: ["sat", "mon"] }] : [] }),
      xaxis2: axis(narrow() ? "days ahead" : "trading days ahead", { domain: [narrow() ? 0.6 : 0.73, 1], range: [0, days.at(-1).day * (narrow() ? 1.45 : 1.22)], tickvals: ticks(days.at(-1).day).filter((day) => day || !narrow()) }),
      yaxis: axis("close, price as given", { tickformat: ",~f" }),
      shapes: [{ type: "line", xref: "paper", x0: 0, x1: narrow() ? 0.56 : 0.7, yref: "y", y0: forecast.last_close, y1: forecast.last_close, line: { color: colours.quiet, width: 1, dash: "dot" } }],
    },
  };
}

const ticks = (last) => (last <= 5 ? [...Array(last + 1).keys()] : [0, Math.floor(last / 2), last]);
const weekdays = (days) => days.every((day) => ![0, 6].includes(new Date(`${day}T00:00Z`).getUTCDay()));

function history(series, from, x, closes, colours) {
  if (series.bars && byId("look").value === "candles" && closes.length <= 300) {
    const bars = series.bars.slice(from);
    const [open, high, low] = [0, 1, 2].map((place) => bars.map((bar) => bar[place]));
    const side = (colour) => ({ line: { color: colour, width: 1 }, fillcolor: colour });
    return { type: "candlestick", x, open, high, low, close: closes, increasing: { line: { color: colours.up, width: 1 }, fillcolor: colours.panel },
      decreasing: side(colours.down), showlegend: false, name: "" };
  }
  return { x, y: closes, mode: closes.length < 3 ? "lines+markers" : "lines", line: { color: colours.ink, width: 1.5 }, hovertemplate: "%{y:.6~g}<extra></extra>", showlegend: false };
}

function showTable(forecasts) {
  byId("summary").hidden = forecasts.length < 2;
  const rows = forecasts.slice(0, MOST_ROWS).map((each) => {
    const last = daysOf(each).at(-1);
    const [low, high] = [last.quantiles["0.05"], last.quantiles["0.95"]];
    return [each.id, each.as_of ?? "–", price(each.last_close), price(last.median), change(last.median, each.last_close), price(low), price(high),
      `${((100 * (high - low)) / each.last_close).toFixed(2)} %`];
  });
  const day = Number(byId("horizon").value);
  const rest = forecasts.length > MOST_ROWS ? ` The first ${MOST_ROWS} of ${forecasts.length}.` : "";
  table(byId("table"), ["Series", "As of", "Last close", "Median", "Change", "5 %", "95 %", "90 % band, of the last close"], rows,
    { left: 2, caption: `${day === 1 ? "The next close" : `The close ${day} trading days ahead`}.${rest}` });
}

async function offer() {
  try {
    const { models } = await json("/v1/models");
    offerModels(byId("model"), models, ({ name, version }) => (version ? `${name}, version ${version}` : name));
    recall(byId("model"));
  } catch (error) {
    tell(byId("problem"), error);
  }
}

for (const id of ["model", "horizon"]) {
  byId(id).addEventListener("change", (event) => { remember(id, event.target.value); ask(); });
}
for (const id of ["span", "look"]) {
  byId(id).addEventListener("change", (event) => { remember(id, event.target.value); if (now.answer) show(); });
}
for (const id of ["horizon", "span", "look"]) recall(byId(id));
await offer();
await chooser((series) => { now.series = series; ask(); });

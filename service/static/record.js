// The model's record: its card, drawn. What the card does not say is said not to be there.
import { curl, json, showCurl, tell } from "./api.js";
import { axis, draw } from "./charts.js";
import { byId, fill, h, offerModels, options, table } from "./dom.js";
import { count, fixed, signed } from "./numbers.js";
import { recall, remember } from "./source.js";

const COLOURS = ["blue", "orange", "green", "pink", "sand"];
const NAMES = { "us-stocks": "20 US stocks, from 2016", others: "8 other series, from 2016" };
const now = { details: null };

async function load() {
  const name = byId("model").value;
  const path = `/v1/models/${encodeURIComponent(name)}`;
  showCurl([["The card", curl(path)]]);
  try {
    now.details = await json(path);
    fill(byId("problem"));
    options(byId("market"), Object.keys(now.details.card.scores).map((each) => [each, NAMES[each] ?? each]));
    showCard(now.details);
    showMarket();
    byId("later").classList.add("there");
  } catch (error) {
    tell(byId("problem"), error);
  }
}

function showCard({ card, provider, ready, digest }) {
  const { data, training } = card;
  byId("title").textContent = `${card.name}, version ${card.version}`;
  byId("about").textContent = card.summary;
  const facts = {
    "Trained on": data.sources.map(({ source }) => source).join("; "),
    "Series": data.series.join(", "),
    "Closes": count(data.closes),
    "Trained": data.train.join(" to "),
    "Validated": data.validation.join(" to "),
    "Kept apart for tests": data.test.join(" to "),
    "Simulated share": training.simulated === undefined ? null : `${fixed(100 * training.simulated, 0)} % of a batch are simulated paths`,
    "Network": `${card.network}, ${count(card.parameters)} weights and biases`,
    "Closes needed": card.window_days ? `${card.window_days}, its window` : `${card.min_days} or more; trained on up to ${count(card.trained_days)}`,
    "Runs on": ready ? provider : "not ready",
    "Seed": String(card.seed),
    "Digest": digest,
  };
  fill(byId("facts"), Object.entries(facts).filter(([, value]) => value !== null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  showLimits(card);
}

function showLimits(card) {
  const data = card.data;
  const said = [
    "Daily closes of tradable prices, adjusted for splits: a two-for-one split looks like a fall by half.",
    card.window_days ? `It reads the last ${card.window_days} closes and refuses fewer.` : `It takes ${card.min_days} to 10,000 closes; it was trained on windows of ${count(card.trained_days)}.`,
    `It learned from ${data.series.join(", ")} and simulated paths up to ${data.train[1]}; other markets are measured, not trained on.`,
    "It knows prices alone: no news, no calendar, no earnings. Quantiles are about one close; bands of several series say nothing of them together.",
    "It says little of direction. What it knows is how wide tomorrow is.",
    "Coverage over time is not recorded in the card, so it is not drawn; the coverage here is the mean of all test days.",
  ];
  fill(byId("limits"), h("ul", {}, said.map((each) => h("li", {}, each))));
}

function showMarket() {
  const { card } = now.details;
  const scores = card.scores[byId("market").value];
  if (!scores) return;
  const rows = Object.entries(scores);
  const own = scores[card.name] ?? rows[0][1];
  byId("scored").textContent = `${count(own.forecasts)} forecasts of ${own.series} series, every forecaster on the same days, walking forward. Lower loss is better.`;
  table(byId("scores"), ["Forecaster", "Pinball loss, bp", "Beside GARCH, %", "t", "Better on, % of series", "Cover 80 %", "Cover 90 %", "Cover 98 %", "Direction right, %"],
    rows.map(([name, row]) => [name, fixed(row.pinball_bp), signed(row.vs_garch_percent), signed(row.t_vs_garch, 1), fixed(row.better_percent, 0), fixed(row.coverage_80, 1), fixed(row.coverage_90, 1), fixed(row.coverage_98, 1), row.direction_percent ? fixed(row.direction_percent, 1) : "–"]),
    { mark: ([name]) => (name === card.name ? "own" : null) });
  const levels = card.levels.map((level) => [100 * level, `hits_${String(Math.round(100 * level)).padStart(2, "0")}`]);
  draw(byId("calibration"), `Calibration of ${card.name} and the baselines`, (colours) => calibration(rows, levels, colours));
  draw(byId("pit"), `Histogram of where closes fell among the quantiles of ${card.name} and the baselines`, (colours) => histogram(rows, levels, colours));
  draw(byId("coverage"), `Nominal and empirical coverage of ${card.name} and the baselines`, (colours) => coverage(rows, colours));
}

const styled = (at, colours) => ({ color: colours[COLOURS[at % COLOURS.length]], width: at ? 1.3 : 2.6 });

function calibration(rows, levels, colours) {
  return {
    data: rows.map(([name, row], at) => ({ x: levels.map(([level]) => level), y: levels.map(([level, hit]) => row[hit] - level), name, mode: "lines+markers", marker: { size: at ? 4 : 6 }, line: styled(at, colours), hovertemplate: "%{y:+.2f}" })),
    layout: { xaxis: axis("level of the quantile, per cent", { tickvals: levels.map(([level]) => level).filter((each) => ![5, 95].includes(each)) }), yaxis: axis("off by, percentage points", { zeroline: true, zerolinecolor: colours.quiet }) },
  };
}

function histogram(rows, levels, colours) {
  const edges = [0, ...levels.map(([level]) => level), 100];
  const bins = edges.slice(1).map((edge, at) => `${edges[at].toFixed(0)}–${edge.toFixed(0)}`);
  const data = rows.map(([name, row], at) => {
    const reached = [0, ...levels.map(([, hit]) => row[hit]), 100];
    const full = bins.map((_, bin) => (reached[bin + 1] - reached[bin]) / (edges[bin + 1] - edges[bin]));
    return at ? { x: bins, y: full, name, mode: "markers", marker: { size: 6, color: colours[COLOURS[at]] }, hovertemplate: "%{y:.2f}" }
      : { x: bins, y: full, name, type: "bar", marker: { color: colours.blue, opacity: 0.75 }, hovertemplate: "%{y:.2f}" };
  });
  return { data, layout: { xaxis: axis("between the quantiles, per cent", { type: "category" }), yaxis: axis("closes beside their expected number", { rangemode: "tozero" }), shapes: [level(1, colours)] } };
}

const level = (y, colours) => ({ type: "line", xref: "paper", x0: 0, x1: 1, yref: "y", y0: y, y1: y, line: { color: colours.ink, width: 1, dash: "dot" } });

function coverage(rows, colours) {
  const bands = [80, 90, 98];
  const exact = { x: [78, 100], y: [78, 100], mode: "lines", name: "exact", line: { color: colours.quiet, width: 1, dash: "dot" }, hoverinfo: "skip" };
  return {
    data: [exact, ...rows.map(([name, row], at) => ({ x: bands, y: bands.map((band) => row[`coverage_${band}`]), name, mode: "lines+markers", marker: { size: at ? 5 : 8 }, line: styled(at, colours), hovertemplate: "%{y:.1f}" }))],
    layout: { xaxis: axis("nominal, per cent of closes", { tickvals: bands }), yaxis: axis("empirical, per cent of closes", {}) },
  };
}

byId("model").addEventListener("change", (event) => { remember("model", event.target.value); load(); });
byId("market").addEventListener("change", showMarket);
try {
  const { models } = await json("/v1/models");
  offerModels(byId("model"), models);
  recall(byId("model"));
  await load();
} catch (error) {
  tell(byId("problem"), error);
}

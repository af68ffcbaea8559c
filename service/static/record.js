// The model's record: its card, drawn. What the card does not say is said not to be there.
import { curl, json, showCurl, tell } from "./api.js";
import { axis, draw, forget, narrow } from "./charts.js";
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
    card.coverage_by_quarter ? "A band holds in the mean of years, not in each quarter: when calm ends at once it is too narrow for some days, as coverage over time shows." : null,
  ];
  fill(byId("limits"), h("ul", {}, said.filter(Boolean).map((each) => h("li", {}, each))));
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
  showOverTime(card);
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

/** Coverage by quarter; of a card that has none, that it has none. */
function showOverTime(card) {
  const node = byId("over-time");
  const found = card.coverage_by_quarter?.[byId("market").value];
  fill(byId("over-time-said"), found?.quarters.length ? worst(found, card.name) : "");
  if (found?.quarters.length) {
    node.querySelector(".empty")?.remove();
    draw(node, `Coverage by quarter of ${card.name} and GARCH(1,1)-t`, (colours) => overTime(found, colours));
  } else {
    forget([node]);
    fill(node, h("p", { class: "quiet empty" }, found ? "No quarter has as many forecasts as a share of them needs."
      : `Coverage by quarter is not in the card of version ${card.version}: it was measured for later versions alone.`));
  }
}

/** The quarter in which the 90 % band held fewest, and how many forecasts a quarter has, in words. */
function worst({ quarters, forecasts, inside_percent: inside }, name) {
  const at = inside[name]["90"].indexOf(Math.min(...inside[name]["90"]));
  const others = Object.keys(inside).filter((each) => each !== name).map((each) => `; of ${each}, ${fixed(inside[each]["90"][at], 1)}`);
  return `Fewest in ${quarters[at].replace("-", " ")}: the 90 % band of ${name} held ${fixed(inside[name]["90"][at], 1)} of 100${others.join("")}. A quarter has ${count(Math.min(...forecasts))} to ${count(Math.max(...forecasts))} forecasts.`;
}

function overTime({ quarters, inside_percent: inside }, colours) {
  const bands = ["98", "90", "80"];
  const shown = quarters.map((each) => each.replace("-", " "));
  const firsts = shown.filter((each) => each.endsWith("Q1")).filter((_, at) => !(narrow() && at % 2));
  const data = bands.flatMap((band) => Object.entries(inside).map(([name, row], at) => ({
    x: shown, y: row[band], name, legendgroup: name, showlegend: band === bands[0], mode: "lines+markers",
    marker: { size: at ? 3 : 5 }, line: styled(at, colours), hovertemplate: `${band} % band: %{y:.1f} of 100`,
  })));
  const named = bands.map((band) => ({ xref: "paper", x: 1, xanchor: "left", y: Number(band), text: `${band} %`, showarrow: false, font: { color: colours.quiet, size: 12 } }));
  return { data, layout: {
    xaxis: axis("quarter of a year", { type: "category", tickangle: 0, ...(shown.length > 8 ? { tickvals: firsts, ticktext: firsts.map((each) => (narrow() ? each.slice(0, 4) : each)) } : {}) }),
    yaxis: axis("closes within the band, per cent", {}),
    shapes: bands.map((band) => level(Number(band), colours)), annotations: named, margin: { l: 8, r: 36, t: 8, b: 8 },
  } };
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

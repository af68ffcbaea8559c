// What the network kept: gates, cell and hidden state of each day under the price of that day.
import { curl, json, showCurl, tell } from "./api.js";
import { axis, draw, narrow } from "./charts.js";
import { byId, fill, options } from "./dom.js";
import { chooser, lineOf, recall, remember, sent } from "./source.js";

const PATH = "/v1/forecasts";
const GATES = [
  ["forget_gate", "forget gate", "blue"], ["input_gate", "input gate", "orange"], ["output_gate", "output gate", "green"],
];
const STATES = [["cell", "cell: the long path", "pink"], ["hidden", "hidden: the short path", "ink"]];
const SEQUENTIAL = [[0, "#00224e"], [0.25, "#3f4d6c"], [0.5, "#7d7c78"], [0.75, "#bcae6c"], [1, "#fee838"]];
const DIVERGING = [[0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#f7f7f7"], [0.75, "#f4a582"], [1, "#b2182b"]];
const MOST_CLOSES = 500;
const now = { series: [], explain: null, closes: [], x: [] };

async function ask() {
  const one = now.series[Number(byId("which").value) || 0];
  if (!one) return;
  const cut = { ...one, closes: one.closes.slice(-MOST_CLOSES), dates: one.dates?.slice(-MOST_CLOSES) ?? null, lines: one.lines.slice(-MOST_CLOSES) };
  const body = JSON.stringify({ series: sent([cut]), model: byId("model").value, explain: true });
  const how = { method: "POST", body, type: "application/json" };
  showCurl([["These gates and states", curl(PATH, how)]]);
  try {
    const answer = await json(PATH, how);
    const { explain } = answer.forecasts[0];
    Object.assign(now, { explain, id: one.id, network: answer.model.name, closes: cut.closes.slice(-explain.days), x: days(cut).slice(-explain.days) });
    fill(byId("problem"));
    show();
  } catch (error) {
    tell(byId("problem"), error, lineOf([cut]));
  }
}

const days = (one) => one.dates ?? one.closes.map((_, at) => at + 1);

function show() {
  const { explain, network } = now;
  const span = Number(byId("span").value);
  const cut = (values) => values.slice(-span);
  const gates = GATES.filter(([name]) => name in explain);
  const states = STATES.filter(([name]) => name in explain);
  byId("gates").classList.toggle("few", !gates.length);
  draw(byId("gates"), `Price of ${now.id} and, for each of ${Math.min(span, explain.days)} days, what the ${network} kept of it`, (colours) =>
    figure({ explain, gates, states, cut, colours }));
  byId("reading").textContent = reading(explain, network);
}

function reading(explain, network) {
  if (!("forget_gate" in explain)) return `The ${network} has ${explain.units} units and one path: what is not in its hidden state is gone.`;
  const mean = explain.mean.forget_gate;
  const average = mean.reduce((sum, each) => sum + each, 0) / mean.length;
  return `${explain.units} units. Over ${explain.days} days the forget gates stood at ${average.toFixed(2)} on average: a day later that share of ` +
    `the cell is left, ${Math.pow(average, 5).toFixed(2)} after five days at this mean.`;
}

/** Rows from top to bottom, each on an axis of its own, all above one axis of days. */
function figure({ explain, gates, states, cut, colours }) {
  const lines = [
    { weight: 1.6, title: "close, price", traces: [line("close", cut(now.closes), colours.ink)] },
    ...(gates.length ? [{ weight: 1.3, title: "gates, mean, 0 to 1", range: [0, 1], traces: gates.map(([name, text, colour]) => line(text, cut(explain.mean[name]), colours[colour])) }] : []),
    { weight: 1.3, title: "states, mean, no unit", traces: states.map(([name, text, colour]) => line(text, cut(explain.mean[name]), colours[colour])) },
  ];
  const heat = [...gates, ...states].map(([name, text]) => {
    const gate = name.endsWith("gate");
    return { weight: 1.2, title: `${name.replace("_gate", "")}, unit`, heat: true, traces: [map(text, cut(explain[name]), gate, explain.units)] };
  });
  const rows = [...lines, ...heat];
  const total = rows.reduce((sum, { weight }) => sum + weight, 0);
  const gap = 0.012;
  let top = 1;
  const layout = { hovermode: "x", showlegend: true, hoversubplots: "axis", legend: { orientation: "h", y: 1.005, yanchor: "bottom", x: 0 } };
  const data = rows.flatMap((row, at) => {
    const size = (row.weight / total) * (1 - gap * (rows.length - 1));
    const name = at ? `yaxis${at + 1}` : "yaxis";
    layout[name] = axis(row.title, { domain: [Math.max(0, top - size), top], range: row.range, nticks: row.heat ? 3 : 5, showgrid: !row.heat });
    const middle = top - size / 2;
    top -= size + gap;
    return row.traces.map((trace) => ({ ...trace, yaxis: at ? `y${at + 1}` : "y", ...(trace.type === "heatmap" ? { colorbar: bar(middle, size, colours) } : {}) }));
  });
  const dated = typeof now.x[0] === "string";
  layout.xaxis = axis(dated ? "day" : "day, from the first", { anchor: `y${rows.length}`, type: dated ? "date" : "linear", nticks: narrow() ? 3 : 8, tickangle: 0, showspikes: true, spikemode: "across",
    spikethickness: 1, spikecolor: colours.quiet, spikedash: "dot", spikesnap: "hovered data" });
  return { data, layout };

  function line(name, y, color) {
    return { x: cut(now.x), y, name, mode: "lines", line: { color, width: 1.6 }, showlegend: name !== "close", hovertemplate: `${name} %{y:.4~g}<extra></extra>` };
  }
  function map(name, byDay, gate, units) {
    const z = Array.from({ length: units }, (_, unit) => byDay.map((day) => day[unit]));
    const most = gate ? 1 : Math.max(...z.flat().map(Math.abs)) || 1;
    return { type: "heatmap", name, x: cut(now.x), z, zmin: gate ? 0 : -most, zmax: most, colorscale: gate ? SEQUENTIAL : DIVERGING, showlegend: false,
      hovertemplate: `${name}, unit %{y}: %{z:.3f}<extra></extra>` };
  }
}

const bar = (middle, size, colours) => ({
  y: middle, len: size, thickness: 8, x: 1.005, outlinewidth: 0, nticks: 3, tickfont: { size: 10, color: colours.quiet },
});

byId("model").addEventListener("change", (event) => { remember("model", event.target.value); ask(); });
byId("which").addEventListener("change", ask);
byId("span").addEventListener("change", (event) => { remember("span", event.target.value); if (now.explain) show(); });
for (const id of ["model", "span"]) recall(byId(id));
await chooser((series) => {
  now.series = series;
  options(byId("which"), series.map(({ id }, at) => [String(at), id]));
  ask();
});

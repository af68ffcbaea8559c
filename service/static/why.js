// Why an LSTM: figures that `make figures` computed, and what the models of this service say to few closes.
import { curl, json, showCurl, tell } from "./api.js";
import { axis, draw } from "./charts.js";
import { byId, h, table } from "./dom.js";
import { price } from "./numbers.js";
import { parsePrices } from "./prices.js";

const BASE = new URL(".", import.meta.url);
const LAYERS = { rnn: "orange", lstm: "blue", mlp: "green" };
const DASHES = { "": "solid", orthogonal: "dot", "forget bias 1": "dash", "forget bias 3": "dashdot", chrono: "dot" };
const COUNTS = [1, 2, 5, 20, 59, 60, 250];
const PATH = "/v1/forecasts";

const figures = async (name) => (await fetch(new URL(`figures/${name}.json`, BASE))).json();
const RAISED = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const power = (exponent) => `10${[...String(exponent)].map((each) => RAISED[each]).join("")}`;

/** A logarithmic axis with a tick at each of these powers of ten. */
function log(text, from, to, step, more = {}) {
  const exponents = Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, at) => from + at * step);
  return axis(text, { type: "log", range: [from, to], tickvals: exponents.map((each) => 10 ** each), ticktext: exponents.map(power), ...more });
}

function drawGradients({ one_unit: unit, profiles, memory }) {
  draw(byId("unit"), "Gradient of one linear unit by steps back, for five weights, on a logarithmic axis", (colours) => ({
    data: [...new Set(unit.map((row) => row.weight))].map((weight, at) => {
      const own = unit.filter((row) => row.weight === weight);
      return { x: own.map((row) => row.lag), y: own.map((row) => row.autograd), name: `w = ${weight}`, mode: "lines+markers", marker: { size: 5 },
        line: { color: [colours.orange, colours.sand, colours.ink, colours.blue, colours.green][at] } };
    }),
    layout: { xaxis: axis("steps back, days"), yaxis: log("gradient, no unit", -160, 40, 40) },
  }));
  const shown = (weights) => profiles.filter((row) => row.output === "hidden state" && weights(row.weights));
  draw(byId("fresh"), "Norm of the gradient by days back as initialised, RNN beside LSTM", (colours) => profile(shown((each) => each.startsWith("fresh")), colours));
  draw(byId("trained"), "Norm of the gradient by days back after training, RNN beside LSTM", (colours) => profile(shown((each) => each === "trained"), colours));
  draw(byId("memory"), "Accuracy of the memory task by days back, RNN beside LSTM", (colours) => remembered(memory, colours));
}

function profile(rows, colours) {
  const data = rows.map((row) => {
    const start = row.weights.split(", ")[1] ?? "";
    const name = `${row.layer.toUpperCase()}${start ? `, ${start}` : ""}`;
    return { x: row.norms.map((_, lag) => lag), y: row.norms.map((each) => each || null), mode: "lines", name, line: { color: colours[LAYERS[row.layer]], dash: DASHES[start], width: 2 } };
  });
  return { data, layout: { xaxis: axis("days back"), yaxis: log("norm of the gradient, no unit", -30, 1, 5) } };
}

function remembered(rows, colours) {
  const data = [...new Set(rows.map((row) => row.start))].map((start) => {
    const own = rows.filter((row) => row.start === start);
    const runs = own.map((row) => row.accuracies.map((each) => 100 * each));
    const mean = runs.map((each) => each.reduce((sum, value) => sum + value, 0) / each.length);
    const [layer, how = ""] = start.split(", ");
    return { x: own.map((row) => row.lag_days), y: mean, name: `${layer.toUpperCase()}${how ? `, ${how}` : ""}`, mode: "lines+markers", marker: { size: 5 },
      line: { color: colours[LAYERS[layer]], dash: DASHES[how], width: 2 },
      error_y: { type: "data", symmetric: false, thickness: 1, width: 2, array: runs.map((each, at) => Math.max(...each) - mean[at]), arrayminus: runs.map((each, at) => mean[at] - Math.min(...each)) } };
  });
  const coin = { x: [5, 200], y: [50, 50], name: "a coin", mode: "lines", line: { color: colours.quiet, dash: "dot", width: 1 } };
  return { data: [...data, coin], layout: { xaxis: axis("days back, k", { type: "log", tickvals: [5, 10, 20, 50, 100, 200] }), yaxis: axis("right, per cent", { range: [40, 103] }) } };
}

function drawFamily({ cells }) {
  draw(byId("parameters"), "Parameters by the number of closes that a forecast sees: LSTM and RNN level, MLP growing", (colours) => ({
    data: Object.entries(LAYERS).map(([network, colour]) => {
      const own = cells.filter((each) => each.network === network);
      return { x: own.map((each) => each.days), y: own.map((each) => each.parameters), name: network.toUpperCase(), mode: "lines+markers", line: { color: colours[colour], width: 2 } };
    }),
    layout: { xaxis: axis("closes that a forecast sees, days", { type: "log", tickvals: [5, 20, 60, 250, 1000] }), yaxis: axis("weights and biases, number", { type: "log", tickvals: [3000, 10000, 30000], ticktext: ["3,000", "10,000", "30,000"], range: [3.4, 4.8] }) },
  }));
}

async function askEach() {
  const text = await (await fetch(new URL("examples/wti.csv", BASE))).text();
  const [{ closes }] = parsePrices(text, "WTI").series;
  const { models } = await json("/v1/models");
  const body = (name, ...counts) => JSON.stringify({ series: counts.map((days) => ({ id: "WTI", closes: closes.slice(-days) })), model: name, levels: [0.5] });
  const said = async ({ name, min_days: needed }) => {
    const enough = COUNTS.filter((days) => days >= needed);
    const { forecasts } = await json(PATH, { method: "POST", body: body(name, ...enough), type: "application/json" });
    const few = COUNTS.filter((days) => days < needed).map(() => h("span", { class: "refused" }, `refused: needs ${needed}`));
    return [...few, ...forecasts.map(({ median }) => price(median))];
  };
  const columns = await Promise.all(models.map(said));
  const rows = COUNTS.map((days, at) => [String(days), ...columns.map((column) => column[at])]);
  table(byId("refusals"), ["closes", ...models.map(({ name }) => name)], rows, { caption: "Median of WTI's next close, dollars a barrel" });
  byId("ask-mlp").addEventListener("click", async () => {
    try {
      await json(PATH, { method: "POST", body: body("mlp", 5), type: "application/json" });
    } catch (error) {
      tell(byId("problem"), error);
    }
  });
  showCurl([["Five closes to the MLP, which needs its window", curl(PATH, { method: "POST", type: "application/json", body: body("mlp", 5) })],
    ["The same to the LSTM", curl(PATH, { method: "POST", type: "application/json", body: body("lstm", 5) })]]);
}

askEach().catch((error) => tell(byId("problem"), error));
try {
  drawGradients(await figures("gradients"));
  drawFamily(await figures("family"));
} catch (error) {
  tell(byId("problem"), error);
}

// Health: what is ready, and what goes through, by two readings of /metrics at a time.
import { call, curl, every, json, showCurl, tell } from "./api.js";
import { axis, draw } from "./charts.js";
import { byId, fill, h, table } from "./dom.js";
import { count, duration, fixed } from "./numbers.js";
import { quantile, samples, sum } from "./scrape.js";

const LOOK_MS = 2000;
const MOST_POINTS = 150;
const FORECASTS = { route: "/v1/forecasts" };
const SECONDS = "nextday_request_seconds";
const points = [];
let before = null;

async function look() {
  try {
    const ready = await json("/readyz", { also: [503] }); // which has the same body where the service is not ready
    const found = samples(await (await call("/metrics")).text());
    const { models } = await json("/v1/models").catch((error) => { if (error.status === 401) return { models: null }; throw error; });
    const seen = { at: performance.now() / 1000, found };
    fill(byId("problem"));
    if (before) points.push(point(seen));
    if (points.length > MOST_POINTS) points.shift();
    showState(ready);
    showTiles(ready, found);
    if (models) showModels(models);
    showRoutes(found);
    drawAll();
    byId("later").classList.add("there");
    before = seen;
  } catch (error) {
    setState("does not answer", "failed");
    tell(byId("problem"), error);
  }
}

function point({ at, found }) {
  const past = at - before.at;
  const rate = (name) => Math.max(0, (sum(found, name) ?? 0) - (sum(before.found, name) ?? 0)) / past;
  const latency = (level) => quantile(level, found, before.found, SECONDS, FORECASTS);
  return { at: new Date(), requests: rate("nextday_requests_total"), rows: rate("nextday_rows_total"), half: latency(0.5), most: latency(0.99) };
}

function showState({ ready, draining, missing }) {
  if (draining) setState("about to end", "cancelling");
  else if (ready) setState("ready", "completed");
  else setState(`not ready: ${Object.entries(missing).map(([name, why]) => `${name}: ${why}`).join("; ")}`, "failed");
}

function setState(text, kind) {
  const node = byId("state");
  if (node.textContent !== text) node.textContent = text;
  node.className = `state status ${kind}`;
}

function showTiles({ queue }, found) {
  const last = points.at(-1);
  const providers = [...new Set(found.filter(({ name }) => name === "nextday_model_info").map(({ labels }) => labels.provider))];
  const jobs = (status) => sum(found, "nextday_jobs", { status }) ?? 0;
  const tiles = {
    "Execution provider": providers.join(", ") || "–",
    "Requests a second": last ? fixed(last.requests, 1) : "–",
    "Rows forecast a second": last ? fixed(last.rows, 1) : "–",
    "Latency, median": last?.half ? duration(last.half) : "nobody asked",
    "Latency, 99 of 100": last?.most ? duration(last.most) : "nobody asked",
    "In flight": count(sum(found, "nextday_requests_in_flight") ?? 0),
    "Queue": queue.ok ? `${count(queue.unfinished_jobs)} unfinished jobs, ${count(sum(found, "nextday_queue_chunks") ?? 0)} chunks` : `away: ${queue.reason ?? ""}`,
    "Jobs running": count(jobs("in_progress") + jobs("finalizing")),
    "Workers alive": queue.ok ? count(queue.workers) : "–",
    "Version": found.find(({ name }) => name === "nextday_build_info")?.labels.version ?? "–",
  };
  fill(byId("tiles"), Object.entries(tiles).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function showModels(models) {
  table(byId("models"), ["Model", "State", "Version", "Provider", "Network", "Closes needed", "Parameters", "Digest"],
    models.map((each) => [each.name, each.ready ? "ready" : each.states.map(({ reason }) => reason).filter(Boolean).join("; ") || "not ready", each.version, each.provider, each.network, each.min_days, count(each.parameters), h("code", {}, (each.digest ?? "–").slice(0, 19))]),
    { left: 2 });
}

function showRoutes(found) {
  const routes = [...new Set(found.filter(({ name }) => name === "nextday_requests_total").map(({ labels }) => labels.route))].sort();
  table(byId("routes"), ["Route", "Requests", "Refused or failed", "Median", "99 of 100"], routes.map((route) => {
    const failed = found.filter(({ name, labels }) => name === "nextday_requests_total" && labels.route === route && Number(labels.status) >= 400).reduce((total, { value }) => total + value, 0);
    return [h("code", {}, route), count(sum(found, "nextday_requests_total", { route })), count(failed), duration(quantile(0.5, found, null, SECONDS, { route }) ?? NaN), duration(quantile(0.99, found, null, SECONDS, { route }) ?? NaN)];
  }));
}

function drawAll() {
  const x = points.map(({ at }) => at);
  const series = (name, text, color) => ({ x, y: points.map((each) => each[name]), name: text, mode: "lines+markers", marker: { size: 3 }, line: { color, width: 1.6 } });
  draw(byId("throughput"), "Requests and rows a second since this page was opened", (colours) => ({
    data: [series("requests", "requests", colours.blue), series("rows", "rows forecast", colours.orange)],
    layout: { showlegend: true, xaxis: axis("time of this browser", { type: "date" }), yaxis: axis("a second", { rangemode: "tozero" }) },
  }));
  draw(byId("latency"), "Latency of forecasts since this page was opened", (colours) => ({
    data: [["half", "median", colours.blue], ["most", "99 of 100", colours.orange]].map(([name, text, color]) => ({ ...series(name, text, color), y: points.map((each) => (each[name] === null ? null : 1000 * each[name])) })),
    layout: { showlegend: true, xaxis: axis("time of this browser", { type: "date", range: x.length ? [x[0], x.at(-1)] : undefined }), yaxis: axis("milliseconds", { rangemode: "tozero" }) },
  }));
}

showCurl([["Is it ready", curl("/readyz", { open: true })], ["Counts and times", curl("/metrics", { open: true })], ["Models", curl("/v1/models")]]);
every(LOOK_MS, look);

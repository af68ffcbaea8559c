// Jobs: what runs and how far it is, what it gave, and what is wrong row by row.
import { call, curl, every, json, save, showCurl, takeFiles, tell } from "./api.js";
import { byId, fill, h, offerModels, table } from "./dom.js";
import { count, duration, fixed, moment } from "./numbers.js";

const TYPES = {
  csv: "text/csv", ndjson: "application/x-ndjson", jsonl: "application/x-ndjson", json: "application/json", parquet: "application/vnd.apache.parquet",
  arrow: "application/vnd.apache.arrow.file", arrows: "application/vnd.apache.arrow.stream",
};
const FORMATS = ["csv", "ndjson", "parquet", "arrow", "arrows"];
const UNDER_WAY = ["queued", "in_progress", "finalizing", "cancelling"];
const PAGE = 50;
const MOST_LISTED = 1000;
const MOST_ERRORS = 200;
const LIST_MS = 1000;
const rows = new Map();
const now = { limit: PAGE, next: null };

function listPath() {
  const query = new URLSearchParams({ limit: now.limit });
  if (byId("status").value) query.set("status", byId("status").value);
  return `/v1/jobs?${query}`;
}

async function refresh() {
  try {
    const { jobs, next } = await json(listPath());
    now.next = next ?? null;
    fill(byId("problem"));
    show(jobs);
  } catch (error) {
    tell(byId("problem"), error);
  }
}

/** Each job keeps its row, so that who has the focus keeps it. */
function show(jobs) {
  const body = frame();
  const kept = new Set(jobs.map(({ id }) => id));
  for (const [id, row] of rows) if (!kept.has(id)) { row.node.remove(); rows.delete(id); }
  jobs.forEach((job, at) => {
    if (!rows.has(job.id)) rows.set(job.id, newRow(job));
    const row = rows.get(job.id);
    row.update(job);
    if (body.children[at] !== row.node) body.insertBefore(row.node, body.children[at] ?? null);
  });
  byId("older").hidden = !now.next || now.limit === MOST_LISTED;
  byId("none").hidden = jobs.length > 0;
  byId("jobs").hidden = !jobs.length;
  showCurl([["This list", curl(listPath())], ...(jobs[0] ? [["The newest job", curl(`/v1/jobs/${jobs[0].id}`)],
    ["Its results as CSV", curl(`/v1/jobs/${jobs[0].id}/results?format=csv`, { save: "results.csv" })]] : []),
  ["Submit a file", curl(`/v1/jobs?model=${byId("model").value}`, { method: "POST", type: TYPES.csv, file: "prices.csv" })]]);
}

function frame() {
  const node = byId("jobs");
  if (!node.tBodies.length) {
    fill(node, h("thead", {}, h("tr", {}, ["Job", "Status", "Model", "Progress", "Rows", "Errors", "Rows a second", "Time left", "Submitted, UTC", "Actions"].map((each, at) =>
      h("th", { scope: "col", class: [4, 5, 6, 7].includes(at) ? "number" : null }, each)))), h("tbody", {}));
  }
  return node.tBodies[0];
}

function newRow(job) {
  const cells = Object.fromEntries(["status", "progress", "total", "failed", "rate", "left"].map((name) => [name, h("span", {})]));
  const bar = h("progress", { max: "1", value: "0", "aria-label": `Progress of job ${job.id.slice(0, 8)}` });
  const buttons = actions(job);
  const node = h("tr", {},
    h("th", { scope: "row" }, h("code", { title: job.id }, job.id.slice(0, 8))), h("td", {}, cells.status), h("td", {}, `${job.model.name} ${job.model.version}`),
    h("td", { class: "progress" }, bar, cells.progress), h("td", { class: "number" }, cells.total), h("td", { class: "number" }, cells.failed),
    h("td", { class: "number" }, cells.rate), h("td", { class: "number" }, cells.left), h("td", { class: "nowrap" }, moment(job.created_at)), h("td", { class: "actions" }, buttons.node));
  const set = (cell, text) => cell.textContent !== text && (cell.textContent = text);
  const update = (each) => {
    cells.status.className = `status ${each.status}`;
    cells.status.title = each.reason ?? "";
    bar.value = each.progress;
    set(cells.status, each.status.replace("_", " "));
    set(cells.progress, `${fixed(100 * each.progress, 0)} %`);
    set(cells.total, count(each.counts.total));
    set(cells.failed, count(each.counts.failed));
    set(cells.rate, each.rows_per_second === null || each.rows_per_second === undefined ? "–" : count(each.rows_per_second));
    set(cells.left, UNDER_WAY.includes(each.status) ? duration(each.seconds_left ?? NaN) : "–");
    buttons.update(each);
  };
  return { node, update };
}

function actions(job) {
  const path = `/v1/jobs/${job.id}`;
  const short = job.id.slice(0, 8);
  const act = (text, method, address, said) =>
    h("button", { type: "button", "aria-label": `${text} job ${short}`, onclick: () => perform(method, address, said) }, text);
  const all = {
    cancel: act("Cancel", "POST", `${path}/cancel`, `Cancelling ${short}`),
    resume: act("Resume", "POST", `${path}/resume`, `Resuming ${short}`),
    remove: h("button", { type: "button", "aria-label": `Delete job ${short}`, onclick: () => confirm(`Delete job ${short}, its results and its input?`) && perform("DELETE", path, `Deleted ${short}`) }, "Delete"),
    errors: h("button", { type: "button", "aria-label": `Errors of job ${short}`, onclick: () => showErrors(job.id) }, "Errors"),
    download: download(path, job.id),
  };
  const update = ({ status, counts }) => {
    const ended = !UNDER_WAY.includes(status);
    const kept = ended && status !== "expired";
    const shown = { cancel: ["queued", "in_progress"].includes(status), resume: ["failed", "cancelled"].includes(status), remove: ended, errors: kept && counts.failed > 0, download: kept };
    for (const [name, node] of Object.entries(all)) node.hidden = !shown[name];
  };
  return { node: h("div", {}, Object.values(all)), update };
}

function download(path, id) {
  const select = h("select", { "aria-label": `Download results of job ${id.slice(0, 8)}` }, h("option", { value: "" }, "Download…"), FORMATS.map((each) => h("option", { value: each }, each)));
  select.addEventListener("change", async () => {
    const format = select.value;
    select.value = "";
    if (!format) return;
    try {
      await save(`${path}/results?format=${format}`, `${id}-results.${format}`);
    } catch (error) {
      byId("said").textContent = `Results of ${id.slice(0, 8)} cannot be downloaded: ${error.message}`;
    }
  });
  return select;
}

async function perform(method, path, said) {
  try {
    await call(path, { method });
    byId("said").textContent = said;
  } catch (error) {
    byId("said").textContent = `Not done: ${error.message}`;
  }
  await refresh();
}

async function showErrors(id) {
  try {
    const text = await (await call(`/v1/jobs/${id}/errors?format=ndjson`)).text();
    const lines = text.trim().split("\n").filter(Boolean);
    const found = lines.slice(0, MOST_ERRORS).map((line) => JSON.parse(line));
    byId("faulty").hidden = false;
    byId("faulty-title").textContent = `Errors of job ${id.slice(0, 8)}: ${count(lines.length)} rows${lines.length > MOST_ERRORS ? `, the first ${MOST_ERRORS}` : ""}`;
    table(byId("errors"), ["Row", "Series", "What is wrong"], found.map(({ row, id: name, error }) => [String(row), name ?? "–", error]), { left: 3 });
    byId("faulty").scrollIntoView({ block: "nearest" });
  } catch (error) {
    tell(byId("problem"), error);
  }
}

async function submit(file) {
  const suffix = file.name.split(".").at(-1).toLowerCase();
  const type = TYPES[suffix];
  if (!type) {
    byId("said").textContent = `${file.name} is none of ${Object.keys(TYPES).map((each) => `.${each}`).join(", ")}`;
    return;
  }
  byId("said").textContent = `Sending ${file.name}`;
  const query = suffix === "json" ? "" : `?${new URLSearchParams({ model: byId("model").value })}`;
  try {
    const job = await json(`/v1/jobs${query}`, { method: "POST", body: file, type });
    byId("said").textContent = `${file.name} is job ${job.id.slice(0, 8)}: ${count(job.counts.total)} series`;
  } catch (error) {
    byId("said").textContent = `${file.name} was not taken: ${(error.errors?.length ? error.errors.map(({ detail }) => detail).join("; ") : error.message)}`;
  }
  byId("file").value = "";
  await refresh();
}

takeFiles(submit);
byId("older").addEventListener("click", () => { now.limit = Math.min(MOST_LISTED, now.limit + PAGE); refresh(); });
byId("status").addEventListener("change", () => { now.limit = PAGE; refresh(); });
try {
  const { models } = await json("/v1/models");
  offerModels(byId("model"), models);
} catch (error) {
  tell(byId("problem"), error);
}
every(LIST_MS, refresh);

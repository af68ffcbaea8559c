// The public API, as everybody has it: calls, problems in words, and the same calls as curl.
import { byId, fill, h } from "./dom.js";

export const KEY = "nextday.key";

/** A problem that the service answered, or that it did not answer. */
export class Problem extends Error {
  constructor(status, title, detail, errors = []) {
    super(detail || title);
    Object.assign(this, { status, title, detail, errors });
  }
}

/** What the service answers to a request; raises a Problem where it is one, but for the statuses in `also`. */
export async function call(path, { method = "GET", body = null, type = null, signal = null, also = [] } = {}) {
  const headers = authorized(type ? { "Content-Type": type } : {});
  let answer;
  try {
    answer = await fetch(path, { method, body, headers, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The service does not answer", `${location.host} cannot be reached; is it still running?`);
  }
  if (!answer.ok && !also.includes(answer.status)) throw await problemOf(answer);
  return answer;
}

export const json = async (path, how) => (await call(path, how)).json();

function authorized(headers) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
}

async function problemOf(answer) {
  const said = await answer.json().catch(() => ({}));
  if (answer.status === 401) askForKey();
  return new Problem(answer.status, said.title || `Status ${answer.status}`, said.detail || said.error || "", said.errors);
}

/** Say a problem in a place of the page; `where` gives a place of the request in words, as the line of a file. */
export function tell(node, error, where = () => null) {
  if (error.name === "AbortError") return;
  const named = (error.errors || []).map((each) => {
    const place = where(each.pointer ?? "");
    return h("li", {}, place ? h("strong", {}, `${place}: `) : null, each.detail);
  });
  const shown = named.length > 20 ? [...named.slice(0, 20), h("li", {}, `and ${named.length - 20} more`)] : named;
  fill(node, h("div", { class: "notice bad" },
    h("p", {}, h("strong", {}, error.title || "Something went wrong on this page"), error.status ? ` (${error.status})` : ""),
    shown.length ? h("ul", {}, shown) : h("p", {}, error.message)));
}

/** A command that does what the page did. */
export function curl(path, { method = "GET", body = null, type = null, file = null, save = null, open = false } = {}) {
  const parts = ["curl -s"];
  if (method !== "GET" && !(method === "POST" && (body !== null || file))) parts.push(`-X ${method}`);
  parts.push(quoted(location.origin + path));
  if (type) parts.push(`-H ${quoted(`Content-Type: ${type}`)}`);
  if (!open && sessionStorage.getItem(KEY)) parts.push('-H "Authorization: Bearer $NEXTDAY_API_KEY"');
  if (save) parts.push(`-o ${quoted(save)}`);
  if (file) parts.push(`--data-binary ${quoted(`@${file}`)}`);
  if (body === null) return parts.join(" ");
  return `${parts.join(" ")} -d @- <<'END'\n${body}\nEND`;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Show commands; each is [what it does, command]. The same ones again stay as they are, and who has the focus keeps it. */
export function showCurl(commands) {
  const place = byId("curl-commands");
  const shown = JSON.stringify(commands);
  if (place.dataset.shown === shown) return;
  place.dataset.shown = shown;
  fill(place, commands.map(([what, command]) => {
    const button = h("button", { type: "button", "aria-label": `Copy as curl: ${what}` }, "Copy as curl");
    button.addEventListener("click", () => copy(command, button));
    const code = command.length > 1200 ? `${command.slice(0, 600)} … ${command.slice(-60)}` : command;
    return h("div", { class: "command" }, h("p", {}, what, button), h("pre", { tabindex: "0" }, h("code", {}, code)));
  }));
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no clipboard over plain HTTP from elsewhere
    const area = h("textarea", {}, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy as curl"), 1500);
}

function askForKey() {
  byId("key").open = true;
  byId("key-state").textContent = "Key needed";
  byId("key-field").focus();
}

/** A file of the API, saved; streamed by the browser where no key must be sent. Raises a Problem where there is none. */
export async function save(path, name) {
  let address = path;
  if (!sessionStorage.getItem(KEY)) await call(path, { method: "HEAD" }).catch(() => call(path)); // a download that is refused tells no page why
  else address = URL.createObjectURL(await (await call(path)).blob());
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  if (address !== path) setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Files that somebody drops anywhere or chooses. */
export function takeFiles(take) {
  const drop = byId("drop");
  byId("file").addEventListener("change", (event) => event.target.files[0] && take(event.target.files[0]));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}

/** Do something now and again and again, never twice at once, and not while nobody looks. */
export function every(milliseconds, work) {
  const turn = async () => {
    if (!document.hidden) await work();
    setTimeout(turn, milliseconds);
  };
  turn();
}

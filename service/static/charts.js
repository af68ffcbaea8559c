// plotly, run once there is something to draw; its colours are the page's, in light and in dark.
import { byId, fill, h } from "./dom.js";

const drawn = new Map();
const IDLE_MS = 1500;
let loading = null;
let marked = false;
let turn = Promise.resolve();

/** plotly; null where the service has none. */
function plotly() {
  const address = document.body.dataset.plotly;
  if (!address) return Promise.resolve(null);
  loading ??= new Promise((done, failed) => {
    const script = h("script", { src: address });
    script.addEventListener("load", () => done(window.Plotly));
    script.addEventListener("error", () => failed(new Error("plotly's script cannot be loaded")));
    document.head.append(script);
  });
  return loading;
}

/** Draw, or draw anew, a chart in an element: `make` gives data and layout of a palette; `words` say it without eyes. */
export async function draw(node, words, make) {
  drawn.set(node, { words, make });
  const Plotly = await plotly();
  if (!Plotly) return fill(node, h("p", { class: "quiet empty" }, "plotly is not installed beside the service"));
  await nextTurn();
  if (drawn.get(node)?.make !== make || !node.isConnected) return undefined;
  const { data, layout } = make(palette());
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", words);
  await Plotly.react(node, data, merged(frame(palette()), layout), { displayModeBar: false, responsive: true });
  markFirst();
  return undefined;
}

/** Charts are drawn one after the other with room to paint between them, so that the first does not wait for the last. */
function nextTurn() {
  turn = turn.then(() => new Promise((done) => setTimeout(done)));
  return turn;
}

/** When the frame with the page's first chart has been painted, for whoever measures it. */
function markFirst() {
  if (marked) return;
  marked = true;
  requestAnimationFrame(() => setTimeout(() => performance.mark("nextday.first-chart")));
}

/** Forget charts whose elements are gone. */
export function forget(nodes) {
  for (const node of nodes) {
    drawn.delete(node);
    if (window.Plotly) window.Plotly.purge(node);
  }
}

/** The page's colours; those of the networks can be told apart by people who see no red or no green. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "quiet", "line", "panel", "blue", "orange", "green", "pink", "sand", "up", "down"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Whether there is little room beside each other. */
export const narrow = () => matchMedia("(max-width: 40rem)").matches;

/** A colour of the palette, see-through. */
export function faint(colour, share) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return `rgba(${red},${green},${blue},${share})`;
}

/** An axis with its name and unit. */
export const axis = (text, more = {}) => ({ title: { text, standoff: 6 }, ...more });

function frame(colours) {
  const each = {
    gridcolor: colours.line, linecolor: colours.line, zerolinecolor: colours.line, tickcolor: colours.line,
    automargin: true, ticks: "outside", ticklen: 3, zeroline: false,
  };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: false, hovermode: "x unified", autosize: true,
    font: { family: "system-ui, sans-serif", size: 12, color: colours.ink },
    margin: { l: 8, r: 8, t: 8, b: 8 }, axes: each, bargap: 0.15,
    hoverlabel: { bgcolor: colours.panel, bordercolor: colours.line, font: { color: colours.ink } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: narrow() ? 11 : 12 } },
  };
}

function merged(base, layout) {
  const { axes, ...rest } = base;
  const named = Object.fromEntries(Object.entries(layout).map(([name, value]) =>
    /^[xy]axis\d*$/.test(name) ? [name, { ...axes, ...value, title: { ...value.title, font: { size: 12 } } }] : [name, value]));
  return { ...rest, ...named };
}

addEventListener("nextday.theme", () => {
  for (const [node, { words, make }] of drawn) draw(node, words, make);
});
// It arrives beside the first answers and runs once something is drawn, so that words come first; if nothing is, it runs
// all the same, for what is drawn later.
addEventListener("load", () => setTimeout(() => plotly().catch(() => {}), IDLE_MS));

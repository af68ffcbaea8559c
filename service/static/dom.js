// Elements made of text. Nothing here, or anywhere, parses HTML: what callers call their series stays text.

/** An element: its attributes, then its children, which are elements or text. */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((each) => each !== null && each !== undefined));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** Put children in the place of what an element has. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter((each) => each !== null && each !== undefined));
}

/** A table of a head and rows; cells that are numbers, or begin like one, stand to the right. */
export function table(node, head, rows, { left = 1, mark = () => null, caption = null } = {}) {
  const cell = (tag, value, place, scope) =>
    h(tag, { class: place < left ? null : "number", scope }, value instanceof Node ? value : String(value ?? "–"));
  fill(
    node,
    caption ? h("caption", {}, caption) : null,
    h("thead", {}, h("tr", {}, head.map((each, place) => cell("th", each, place, "col")))),
    h("tbody", {}, rows.map((row, at) =>
      h("tr", { class: mark(row, at) }, row.map((each, place) =>
        place === 0 ? cell("th", each, 0, "row") : cell("td", each, place))))),
  );
}

/** Models to choose from; the LSTM where there is one. */
export function offerModels(select, models, text = ({ name }) => name) {
  options(select, models.map((each) => [each.name, text(each)]));
  if (models.some(({ name }) => name === "lstm")) select.value = "lstm";
}

/** The options of a select; keeps what is chosen where it is still there. */
export function options(select, items) {
  const chosen = select.value;
  fill(select, items.map(([value, text]) => h("option", { value }, text ?? value)));
  if (items.some(([value]) => String(value) === chosen)) select.value = chosen;
}

// Prometheus's text format, and what two readings of it say.

/** Samples of a text: name, labels, value. */
export function samples(text) {
  const found = [];
  for (const line of text.split("\n")) {
    const parts = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!parts || line.startsWith("#")) continue;
    const labels = {};
    for (const [, name, value] of (parts[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
    found.push({ name: parts[1], labels, value: parts[3] === "+Inf" ? Infinity : Number(parts[3]) });
  }
  return found;
}

const fits = (sample, name, labels) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value);

/** The sum of the samples of a name with these labels; null where there is none. */
export function sum(found, name, labels = {}) {
  const own = found.filter((each) => fits(each, name, labels));
  return own.length ? own.reduce((total, { value }) => total + value, 0) : null;
}

/** A quantile of a histogram between two readings, in its unit; null where nothing was counted. */
export function quantile(level, later, earlier, name, labels = {}) {
  const buckets = later.filter((each) => fits(each, `${name}_bucket`, labels)).map(({ labels: own, value }) => {
    const before = earlier?.find((each) => fits(each, `${name}_bucket`, own))?.value ?? 0;
    return [own.le === "+Inf" ? Infinity : Number(own.le), value - before];
  }).sort(([one], [other]) => one - other);
  const total = buckets.at(-1)?.[1] ?? 0;
  if (!total) return null;
  let low = 0, under = 0;
  for (const [edge, reached] of buckets) {
    if (reached >= level * total) {
      return edge === Infinity ? low : low + ((edge - low) * (level * total - under)) / Math.max(1e-12, reached - under);
    }
    [low, under] = [edge, reached];
  }
  return null;
}

// Metrics in the text format of Prometheus, and what two readings of them tell.

// parse returns the samples of each metric by its name.
export function parse(text) {
  const metrics = new Map();
  for (const line of text.split("\n")) {
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!sample) continue; // a comment
    const [, name, labels = "", value] = sample;
    if (!metrics.has(name)) metrics.set(name, []);
    metrics.get(name).push({ labels: parseLabels(labels), value: value === "+Inf" ? Infinity : Number(value) });
  }
  return metrics;
}

function parseLabels(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
  }
  return labels;
}

// sum adds up the samples of a metric whose labels match.
export function sum(metrics, name, match = () => true) {
  let total = 0;
  for (const { labels, value } of metrics.get(name) ?? []) if (match(labels)) total += value;
  return total;
}

// increase is by how much a counter grew. One that fell was begun anew, as the service was.
export function increase(before, now, name, match) {
  const a = sum(before, name, match), b = sum(now, name, match);
  return b < a ? b : b - a;
}

// buckets of a histogram: how many observations there were up to each bound.
function buckets(metrics, name, match) {
  const counts = new Map();
  for (const { labels, value } of metrics.get(`${name}_bucket`) ?? []) {
    if (!match(labels)) continue;
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    counts.set(bound, (counts.get(bound) ?? 0) + value);
  }
  return counts;
}

// quantile estimates a quantile of what a histogram observed between two readings, as Prometheus does; null if that was nothing.
export function quantile(before, now, name, q, match = () => true) {
  const earlier = buckets(before, name, match), later = buckets(now, name, match);
  const restarted = [...later].some(([bound, n]) => n < (earlier.get(bound) ?? 0));
  const counts = [...later].map(([bound, n]) => [bound, restarted ? n : n - (earlier.get(bound) ?? 0)]).sort(([a], [b]) => a - b);
  const total = counts.at(-1)?.[1] ?? 0;
  if (total === 0) return null;
  const rank = q * total;
  let low = 0, below = 0;
  for (const [bound, n] of counts) {
    if (n >= rank) return bound === Infinity ? low : low + (bound - low) * ((rank - below) / (n - below || 1));
    low = bound;
    below = n;
  }
  return low;
}

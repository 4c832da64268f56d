// A chart over time, with a legend that tells the latest values in text. The drawing is uPlot's.
import { el } from "./dom.js";
import { clock } from "./format.js";

const { uPlot } = globalThis;
const height = 168;
const minutes = 2; // that are shown at least
const headroom = 1.1; // above the highest value

// period is what is shown of points between two times, or, if there is none yet, before the latter.
export const period = (low, high) => [Math.min(low ?? high, high - minutes * 60), high];

// chart makes one of series {key, name, dashed} of points. It lasts until the signal.
export function chart(title, unit, series, show, signal) {
  const values = new Map(), swatches = new Map();
  const legend = el("ul", { class: "legend" }, series.map(({ key, name }) => {
    swatches.set(key, el("i", { class: `swatch ${key}`, "aria-hidden": "true" }));
    values.set(key, el("b", null, "–"));
    return el("li", null, swatches.get(key), name, " ", values.get(key));
  }));
  const plot = el("div", { class: "plot", "aria-hidden": "true" });
  const figure = el("figure", { class: "panel chart" },
    el("figcaption", null, el("h2", null, title), el("span", { class: "unit" }, unit), legend), plot);
  let drawn = null, latest = [];

  function draw() {
    drawn?.destroy();
    drawn = new uPlot(options(plot.clientWidth), data(), plot);
  }

  function data() {
    return [latest.map((p) => p.at), ...series.map(({ key }) => latest.map((p) => p[key]))];
  }

  // options takes the colours from where the style sheet has put them, for light and dark.
  function options(width) {
    const ink = getComputedStyle(plot), colour = (key) => getComputedStyle(swatches.get(key)).backgroundColor;
    const axis = {
      stroke: ink.color, font: `11px ${ink.fontFamily}`, ticks: { show: false }, grid: { stroke: ink.borderTopColor, width: 1 },
    };
    return {
      width, height, legend: { show: false }, padding: [8, 26, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: (_, low, high) => period(low, high ?? Date.now() / 1000) },
        y: { range: (_, low, high) => [0, (high ?? 0) * headroom || 1] },
      },
      axes: [
        { ...axis, size: 24, space: 80, grid: { show: false }, values: (_, at) => at.map((t) => clock(new Date(t * 1000))) },
        { ...axis, size: 56, space: 32, values: (_, ys) => ys.map((y) => show(y)) },
      ],
      series: [{}, ...series.map(({ key, dashed }) => ({
        stroke: colour(key), width: 1.5, points: { show: false }, dash: dashed ? [5, 4] : undefined, spanGaps: false,
        fill: dashed ? undefined : colour(key).replace(/^rgb\((.*)\)$/, "rgba($1, 0.08)"),
      }))],
      hooks: { setCursor: [(u) => tellValues(u.cursor.idx ?? latest.length - 1)] },
    };
  }

  function tellValues(i) {
    for (const { key } of series) values.get(key).textContent = show(latest[i]?.[key] ?? null);
  }

  signal.addEventListener("abort", () => drawn?.destroy());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw, { signal });
  const sizes = new ResizeObserver(() => drawn ? drawn.setSize({ width: plot.clientWidth, height }) : draw());
  sizes.observe(plot);
  signal.addEventListener("abort", () => sizes.disconnect());

  return {
    figure,
    update(points) {
      latest = points;
      drawn?.setData(data());
      if (!drawn || drawn.cursor.idx === null || drawn.cursor.idx === undefined) tellValues(points.length - 1);
    },
  };
}

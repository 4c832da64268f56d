// The first page: what this instance does, and what needs a person.
import * as api from "./api.js";
import { chart } from "./chart.js";
import { el, fill, renew } from "./dom.js";
import { ago, count, rate, span } from "./format.js";
import { live, latency, answers, total, watch } from "./live.js";
import { operationsTable } from "./operations.js";
import { recordLink } from "./records.js";

const shownUnknown = 6;

export function overview(main, _, signal) {
  const tiles = el("dl", { class: "tiles" });
  const charts = [
    chart("Answers", "per second", [
      { key: "executed", name: "executed" }, { key: "replayed", name: "replayed" }, { key: "waiting", name: "under way" },
      { key: "failed", name: "failed or unknown" }, { key: "refused", name: "refused" },
    ], rate, signal),
    chart("Latency", "of the last 15 seconds", [
      { key: "p50", name: "median" }, { key: "p99", name: "99 %" }, { key: "upstream", name: "99 % of executions", dashed: true },
    ], span, signal),
  ];
  const doubts = el("section", { class: "panel", "aria-labelledby": "doubts-title" });
  const operations = el("section", { class: "panel wide", "aria-labelledby": "operations-title" });
  fill(main,
    el("h1", { tabindex: "-1" }, "Overview"),
    tiles,
    el("div", { class: "charts" }, charts.map(({ figure }) => figure)),
    el("div", { class: "halves" }, operations, doubts));

  const waiting = { count: null, keys: null };
  const show = () => {
    renew(tiles, tilesNow());
    for (const c of charts) c.update(live.points);
    renew(operations, el("h2", { id: "operations-title" }, "Operations"), operationsTable());
    if (live.overview && waiting.count !== live.overview.unknown) findDoubts(waiting, signal).then(() => showDoubts(doubts, waiting));
    showDoubts(doubts, waiting);
  };
  show();
  watch(show, signal);
}

function tile(name, value, note, kind) {
  return el("div", { class: `tile ${kind ?? ""}` }, el("dt", null, name), el("dd", null, el("b", null, value), note ? el("small", null, note) : null));
}

function tilesNow() {
  const now = live.readings.at(-1), before = live.readings.at(-2), first = live.readings[0];
  const rates = before ? answers(before, now) : {}, o = live.overview;
  const took = (q) => (before ? span(latency(first, now, q)) : "–");
  const contradictions = total("atmost_contradictions_total");
  return [
    tile("Answers per second", rate(rates.all), before ? `${rate(rates.executed)} executed, ${rate(rates.replayed)} replayed` : "measuring…"),
    tile("Latency, median", took(0.5), `99 % within ${took(0.99)}`),
    tile("In flight", o ? count(o.pending) : "–", o?.unstored ? `${count(o.unstored)} ended and not stored` : "executions", o?.unstored ? "bad" : ""),
    tile("Unknown", o ? el("a", { href: "#/records?state=unknown" }, count(o.unknown)) : "–",
      o?.unknown ? `the oldest for ${span(o.oldest_unknown)}` : "nothing is in doubt", o?.unknown ? "doubt" : ""),
    tile("Contradictions", count(contradictions), contradictions ? "something may have run twice" : "since this instance started", contradictions ? "bad" : ""),
  ];
}

// findDoubts asks for some of what is unknown, as there is more or less of it than was shown.
async function findDoubts(waiting, signal) {
  waiting.count = live.overview.unknown;
  try {
    waiting.keys = waiting.count ? (await api.get("keys", { state: "unknown", limit: shownUnknown }, signal)).keys : [];
    waiting.error = null;
  } catch (error) {
    if (error.name !== "AbortError") Object.assign(waiting, { error, count: null }); // it is asked for again
  }
}

function showDoubts(section, { keys, count, error }) {
  renew(section, el("h2", { id: "doubts-title" }, "Unknown"),
    error ? el("p", { class: "empty" }, error.message) : null,
    keys?.length === 0 ? el("p", { class: "empty" }, "No record waits for a person, or for a probe.") : null,
    keys?.length ? el("ul", { class: "doubts" }, keys.map((k) => el("li", null,
      recordLink(k), el("span", { class: "quiet" }, `${k.operation} · attempt ${k.attempt} · `, ago(k.updated_at)),
      k.message ? el("span", { class: "told" }, k.message) : null))) : null,
    keys && count > keys.length ? el("p", null, el("a", { href: "#/records?state=unknown" }, "All that is unknown")) : null);
}

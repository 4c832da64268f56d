// Operations, as they are configured, and what becomes of them.
import { el, fill, renew, table } from "./dom.js";
import { count, rate, span } from "./format.js";
import { answers, latency, live, total, watch } from "./live.js";

export function operations(main, _, signal) {
  const place = el("div", { class: "panel" });
  fill(main,
    el("h1", { tabindex: "-1" }, "Operations"),
    el("p", { class: "lead" }, "As they are configured, and what this instance has counted since it was started."),
    place);
  const show = () => renew(place, allTable());
  show();
  watch(show, signal);
}

// The operation that metrics count all those under that are not configured.
const other = "other";

function names() {
  const configured = (live.overview?.operations ?? []).map(({ name }) => name);
  return total("atmost_requests_total", (l) => l.operation === other) && !configured.includes(other) ? [...configured, other] : configured;
}

const nameCell = (name) => (name === other ? el("span", { class: "quiet" }, "not configured") : operationLink(name));

function operationLink(name) {
  return el("a", { href: `#/records?${new URLSearchParams({ operation: name })}` }, name);
}

const number = "number", spare = "spare", spareNumber = "number spare";

// operationsTable is what they do now.
export function operationsTable() {
  const now = live.readings.at(-1), first = live.readings[0];
  if (!now) return el("p", { class: "empty" }, "Asking…");
  const rows = names().map((name) => {
    const r = now === first ? {} : answers(first, now, name);
    return [
      nameCell(name), rate(r.all), rate(r.executed), rate(r.replayed), rate(r.failed), rate(r.refused),
      now === first ? "–" : span(latency(first, now, 0.99, "request", name)),
    ];
  });
  if (!rows.length) return el("p", { class: "empty" }, "No operation is configured.");
  return table("What the operations do now", [
    { title: "Operation" }, { title: "Answers/s", kind: number }, { title: "Executed/s", kind: number }, { title: "Replayed/s", kind: number },
    { title: "Failed/s", kind: spareNumber }, { title: "Refused/s", kind: spareNumber }, { title: "99 %", kind: number },
  ], rows);
}

function allTable() {
  if (!live.overview) return el("p", { class: "empty" }, "Asking…");
  const configured = new Map(live.overview.operations.map((o) => [o.name, o]));
  const rows = names().map((name) => {
    const o = configured.get(name), of = (l) => l.operation === name;
    const ended = (outcome) => count(total("atmost_executions_ended_total", (l) => of(l) && l.outcome === outcome));
    return [
      nameCell(name), o?.executed_by ?? "–", o?.on_unknown ?? "–", o?.timeout ?? "–",
      count(total("atmost_requests_total", of)), count(total("atmost_requests_total", (l) => of(l) && l.answer === "replayed")),
      ended("completed"), ended("failed"), ended("not_executed"), ended("unknown"), count(total("atmost_contradictions_total", of)),
    ];
  });
  if (!rows.length) return el("p", { class: "empty" }, "No operation is configured.");
  return table("Operations", [
    { title: "Operation" }, { title: "Executed by" }, { title: "On unknown" }, { title: "Time-out", kind: spare },
    { title: "Requests", kind: number }, { title: "Replayed", kind: number }, { title: "Completed", kind: spareNumber }, { title: "Failed", kind: spareNumber },
    { title: "Not executed", kind: spareNumber }, { title: "Unknown", kind: number }, { title: "Contradicted", kind: spareNumber },
  ], rows);
}

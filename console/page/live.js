// What the service does now: it is asked every two seconds, whatever page is shown, until that is paused.
import * as api from "./api.js";
import { increase, parse, quantile, sum } from "./metrics.js";

const interval = 2000;
const patience = 10_000; // milliseconds for an answer: what hangs is not waited for, and told
const kept = 300; // points of the charts: ten minutes
const windowed = 8; // readings that rates and latencies of a table are taken over

export const live = {
  overview: null,
  at: null, // when that was so
  failure: null,
  paused: false,
  readings: [], // the latest few
  points: [], // the charts'
};

const watchers = new EventTarget();

// watch calls f when something is new, until the signal.
export function watch(f, signal) {
  watchers.addEventListener("news", f, { signal });
}

const tell = () => watchers.dispatchEvent(new Event("news"));

let asking = false;

async function ask() {
  if (asking || live.paused || document.hidden) return;
  asking = true;
  try {
    const limit = AbortSignal.timeout(patience);
    const [overview, text] = await Promise.all([api.get("overview", {}, limit), api.metrics(limit)]);
    take({ at: Date.now(), overview, metrics: parse(text) });
  } catch (error) {
    live.failure = error;
  }
  asking = false;
  tell();
}

function take(reading) {
  live.overview = reading.overview;
  live.at = reading.at;
  live.failure = null;
  const previous = live.readings.at(-1);
  if (previous && reading.at - previous.at < interval / 2) return; // asked at once, as something was changed: too short a time for rates
  live.readings = [...live.readings, reading].slice(-windowed);
  if (previous) live.points = [...live.points, point(previous, live.readings[0], reading)].slice(-kept);
}

// refresh asks at once, as something was changed.
export const refresh = () => ask();

export function pause(paused) {
  live.paused = paused;
  tell();
  ask();
}

export function begin() {
  setInterval(ask, interval);
  document.addEventListener("visibilitychange", ask);
  ask();
}

// What answers come under, by the label "answer" of atmost_requests_total: everything else is a refusal.
const groups = {
  executed: ["executed", "claimed"],
  replayed: ["replayed"],
  waiting: ["processing", "renewed", "reported"],
  failed: ["EXECUTION_FAILED", "EXECUTION_NOT_STARTED", "OUTCOME_UNKNOWN", "RESULT_NOT_KEPT"],
};
const known = Object.values(groups).flat();

// answers counts the answers per second between two readings, by group; of one operation, if it is told.
export function answers(a, b, operation) {
  const seconds = (b.at - a.at) / 1000;
  const per = (match) => increase(a.metrics, b.metrics, "atmost_requests_total",
    (labels) => (operation === undefined || labels.operation === operation) && match(labels.answer)) / seconds;
  const rates = { all: per(() => true), refused: per((answer) => !known.includes(answer)) };
  for (const [group, names] of Object.entries(groups)) rates[group] = per((answer) => names.includes(answer));
  return rates;
}

// latency estimates a quantile of a time in seconds, null if nothing was timed.
export function latency(a, b, q, of = "request", operation = undefined) {
  return quantile(a.metrics, b.metrics, `atmost_${of}_duration_seconds`, q,
    (labels) => operation === undefined || labels.operation === operation);
}

function point(previous, first, now) {
  return {
    at: now.at / 1000,
    ...answers(previous, now),
    p50: latency(first, now, 0.5),
    p99: latency(first, now, 0.99),
    upstream: latency(first, now, 0.99, "execution"),
    pending: now.overview.pending,
    unknown: now.overview.unknown,
  };
}

// total is what a counter stands at.
export const total = (name, match) => (live.readings.length ? sum(live.readings.at(-1).metrics, name, match) : 0);

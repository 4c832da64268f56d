// How numbers, times and states are shown.
import { el } from "./dom.js";

export const states = ["processing", "completed", "failed", "not_executed", "unknown"];

// words is a name of the API as people read it.
export const words = (name) => name.replaceAll("_", " ");

export function badge(state) {
  return el("span", { class: `badge ${state}` }, words(state));
}

// count is a whole number.
export const count = (n) => Math.round(n).toLocaleString("en");

// rate is a number per second.
export function rate(n) {
  if (n === null || n === undefined) return "–";
  return n.toLocaleString("en", { maximumFractionDigits: n < 10 ? 1 : 0 });
}

// span is a time of so many seconds, of which the two largest units are told; short ones to two or three digits.
export function span(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(seconds < 0.1 ? 2 : 3))} ms`;
  if (seconds < 60) return `${Number(seconds.toPrecision(2))} s`;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (hours < 1) return `${minutes} min`;
  if (days < 1) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

const two = (n) => String(n).padStart(2, "0");

const dateOf = (d) => `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;

export const clock = (d) => `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;

// moment is a time of the service, in this browser's zone; its title has it as it was told.
export function moment(at) {
  const d = new Date(at);
  return el("time", { datetime: at, title: at }, `${dateOf(d)} ${clock(d)}`);
}

// ago is how long ago a time was.
export function ago(at) {
  const seconds = (Date.now() - new Date(at)) / 1000;
  const text = seconds < 1 ? "just now" : `${span(seconds < 60 ? Math.floor(seconds) : seconds)} ago`;
  return el("time", { datetime: at, title: at }, text);
}

// until is how far away a time is.
export function until(at) {
  const seconds = (new Date(at) - Date.now()) / 1000;
  return el("time", { datetime: at, title: at }, seconds <= 0 ? "now" : `in ${span(seconds)}`);
}

const deepest = 32; // levels that have lines of their own

// indent lays out JSON, or its beginning, and keeps every character of its strings and numbers: JSON.parse would round them.
export function indent(json) {
  const token = /\s*([[{]\s*[\]}]|[[\]{},:"]|[^\s[\]{},:"]+)/y, parts = [];
  let depth = 0;
  const line = (inside) => {
    if (inside <= deepest) parts.push("\n", "  ".repeat(depth));
  };
  for (let found; (found = token.exec(json));) {
    const text = found[1];
    if (text === '"') {
      const begin = token.lastIndex - 1;
      token.lastIndex = endOfString(json, begin);
      parts.push(json.slice(begin, token.lastIndex));
    } else if (text === "{" || text === "[") {
      parts.push(text);
      line(++depth);
    } else if (text === "}" || text === "]") {
      depth--;
      line(depth + 1);
      parts.push(text);
    } else if (text === ",") {
      parts.push(text);
      line(depth);
    } else if (text === ":") parts.push(": ");
    else parts.push(/^[[{]/.test(text) ? text[0] + text.at(-1) : text);
  }
  return parts.join("");
}

// endOfString is where the string that begins at i ends. A regular expression would take a stack for a long one.
function endOfString(json, i) {
  for (i++; i < json.length && json[i] !== '"'; i++) if (json[i] === "\\") i++;
  return i + 1;
}

// The audit trail: every change that a person made, the newest first.
import * as api from "./api.js";
import { el, fill, problem, table } from "./dom.js";
import { moment, words } from "./format.js";
import { recordLink } from "./records.js";

const pageSize = 50;
const actions = { resolve: "settled", erase: "erased", forget: "forgot", admit: "admitted a scope", admit_all: "admitted all", guard: "guarded", backup: "backed up" };

export async function audit(main, query, signal) {
  const place = el("div", { class: "panel" }, el("p", { class: "empty" }, "Asking…"));
  fill(main,
    el("h1", { tabindex: "-1" }, "Audit trail"),
    el("p", { class: "lead" }, "Every change that a person made, the newest first. Who and why are what was said: nobody checked them."),
    place);
  try {
    const { entries, next_cursor: next } = await api.get("audit", { limit: pageSize, cursor: query.get("cursor") }, signal);
    fill(place, entries.length ? list(entries) : el("p", { class: "empty" }, "Nobody has changed anything."),
      next || query.has("cursor") ? el("nav", { class: "pages", "aria-label": "Pages" },
        query.has("cursor") ? el("a", { class: "button", href: "#/audit" }, "Newest") : null,
        next ? el("a", { class: "button", href: `#/audit?cursor=${encodeURIComponent(next)}` }, "Older") : null) : null);
  } catch (error) {
    if (error.name !== "AbortError") fill(place, problem(error));
  }
}

function list(entries) {
  return table("Audit trail", [
    { title: "When" }, { title: "Who" }, { title: "Did" }, { title: "To" }, { title: "Before, after", kind: "spare" }, { title: "Why", kind: "told" },
  ], entries.map((e) => [
    moment(e.at), e.actor, actions[e.action] ?? words(e.action), target(e), e.before ? `${words(e.before)} → ${words(e.after)}` : "", e.reason,
  ]));
}

function target(e) {
  if (!e.key) return e.action === "admit" ? e.scope || "keys without a scope" : e.action === "backup" ? "the store" : "all scopes";
  return [recordLink(e), el("small", { class: "quiet" }, ` ${e.operation}, attempt ${e.attempt}`)];
}

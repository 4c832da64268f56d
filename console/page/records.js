// The list of records: a filter, and pages.
import * as api from "./api.js";
import { check, el, field, fill, notify, problem, table } from "./dom.js";
import { ago, badge, states, words } from "./format.js";
import { live } from "./live.js";

const pageSize = 50;
const mostReads = 20; // of pages with nothing on them, before a person is asked whether to go on

// recordLink leads to a record, under its key.
export function recordLink({ id, scope, key }) {
  return el("a", { class: "key", href: `#/records/${id}` }, scope ? [el("span", { class: "scope" }, scope), " "] : null, key);
}

export async function records(main, query, signal) {
  const results = el("section", { class: "panel", "aria-labelledby": "results-title", "aria-busy": "true" },
    el("h2", { id: "results-title", tabindex: "-1" }, "Searching…"));
  fill(main, el("h1", { tabindex: "-1" }, "Records"), form(query), results);
  const filter = Object.fromEntries(["state", "operation", "scope", "key", "older_than"].map((name) => [name, query.get(name)]));
  let page;
  try {
    page = await read(filter, query.get("cursor"), signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    fill(results, el("h2", { id: "results-title", tabindex: "-1" }, "Not found out"), problem(error));
    results.removeAttribute("aria-busy");
    return;
  }
  results.removeAttribute("aria-busy");
  const found = `${page.keys.length || "No"} record${page.keys.length === 1 ? "" : "s"}${query.has("cursor") || page.next_cursor ? " on this page" : ""}`;
  fill(results,
    el("h2", { id: "results-title", tabindex: "-1" }, found),
    page.keys.length ? list(page.keys) : el("p", { class: "empty" },
      page.next_cursor ? "None so far, and there are more to look at." : "Nothing stored is as you ask for. Keys and scopes have to be written whole."),
    pages(query, page.next_cursor));
  notify(found, "said");
}

// read reads on until there is something to show.
async function read(filter, cursor, signal) {
  for (let reads = 1; ; reads++) {
    const page = await api.get("keys", { ...filter, limit: pageSize, cursor }, signal);
    if (page.keys.length || !page.next_cursor || reads === mostReads) return page;
    cursor = page.next_cursor;
  }
}

function list(keys) {
  return table("Records", [
    { title: "Key" }, { title: "State" }, { title: "Operation", kind: "spare" }, { title: "Attempt", kind: "number spare" },
    { title: "Changed" }, { title: "Told", kind: "spare told" },
  ], keys.map((k) => [
    [recordLink(k), el("small", { class: "instead" }, `${k.operation}, attempt ${k.attempt}`)],
    [badge(k.state), k.contradictions ? el("span", { class: "flag" }, "contradicted") : null],
    k.operation, k.attempt, ago(k.updated_at), k.message ?? (k.not_kept ? `result ${words(k.not_kept)}` : ""),
  ]));
}

function pages(query, next) {
  const link = (text, cursor) => {
    const to = new URLSearchParams(query);
    if (cursor) to.set("cursor", cursor);
    else to.delete("cursor");
    return el("a", { class: "button", href: `#/records?${to}` }, text);
  };
  if (!next && !query.has("cursor")) return null;
  return el("nav", { class: "pages", "aria-label": "Pages" },
    query.has("cursor") ? link("First page", null) : null, next ? link("Next page", next) : el("span", { class: "quiet" }, "This is the last page."));
}

function form(query) {
  const text = (name, attributes) => el("input", {
    name, value: query.get(name), autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: "255", ...attributes,
  });
  const state = el("select", { name: "state" }, el("option", { value: "" }, "any"),
    states.map((s) => el("option", { value: s, selected: query.get("state") === s }, words(s))));
  const scope = text("scope"), without = el("input", { type: "checkbox", name: "without", checked: query.get("scope") === "" });
  const agree = () => { scope.disabled = without.checked; };
  without.addEventListener("change", agree);
  agree();
  const submit = (event) => {
    event.preventDefault();
    const data = new FormData(event.target), to = new URLSearchParams();
    for (const name of ["state", "operation", "scope", "key", "older_than"]) {
      const value = (data.get(name) ?? "").trim();
      if (value) to.set(name, value);
    }
    if (data.has("without")) to.set("scope", "");
    location.hash = `#/records${to.size ? `?${to}` : ""}`;
  };
  return el("form", { class: "panel filter", role: "search", "aria-label": "Records", on: { submit } },
    field("Key", text("key", { type: "search" })),
    field("State", state),
    field("Operation", text("operation", { list: "operations" })),
    field("Scope", scope),
    el("label", { class: "check" }, without, el("span", null, "without a scope")),
    field("Unchanged for", text("older_than", { list: "ages", placeholder: "30s, 1h30m…", size: "10" })),
    el("datalist", { id: "operations" }, (live.overview?.operations ?? []).map(({ name }) => el("option", { value: name }))),
    el("datalist", { id: "ages" }, ["1m", "15m", "1h", "24h", "168h"].map((age) => el("option", { value: age }))),
    el("div", { class: "buttons" },
      el("button", { type: "submit", class: "primary" }, "Search"),
      el("a", { class: "button", href: "#/records" }, "Clear")));
}

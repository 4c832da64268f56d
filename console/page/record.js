// One record: what is known of it, what it went through, and what a person can do about it.
import * as api from "./api.js";
import { compareForm } from "./compare.js";
import { el, fill, problem } from "./dom.js";
import { badge, count, indent, moment, until, words } from "./format.js";
import { erase, forget, resolve } from "./settle.js";

export async function record(main, query, signal, id) {
  let r;
  try {
    r = await api.get(`keys/${id}`, {}, signal);
  } catch (error) {
    if (error.name === "AbortError") return;
    fill(main, el("h1", { tabindex: "-1" }, "Record"), problem(error), el("p", null, el("a", { href: "#/records" }, "All records")));
    return;
  }
  const again = () => record(main, query, signal, id).then(() => signal.aborted || main.querySelector("h1").focus());
  fill(main,
    el("p", { class: "path" }, el("a", { href: "#/records" }, "Records"), " / ", r.scope || "without a scope"),
    el("div", { class: "title" }, el("h1", { tabindex: "-1", class: "key" }, r.key), badge(r.state), actions(r, again)),
    r.contradictions ? el("p", { class: "problem" },
      `Two accounts of one attempt differ${r.contradictions > 1 ? `, ${count(r.contradictions)} times` : ""}: the operation may have run twice. The timeline tells when.`) : null,
    r.state === "unknown" ? el("p", { class: "advice" },
      `Nobody knows what attempt ${r.attempt} did. Find out from the system that ${r.operation} calls, then settle it: until then, nothing is executed for this key.`) : null,
    el("div", { class: "halves" },
      el("section", { class: "panel", "aria-labelledby": "timeline-title" }, el("h2", { id: "timeline-title" }, "Timeline"), timeline(r)),
      el("section", { class: "panel", "aria-labelledby": "facts-title" }, el("h2", { id: "facts-title" }, "Facts"), facts(r))),
    r.state === "completed" || r.state === "failed" ? result(r, signal) : null,
    compareForm(r));
}

function actions(r, again) {
  const button = (text, act, kind) => el("button", { type: "button", class: kind, on: { click: () => act(r, again) } }, text);
  const ended = r.state === "completed" || r.state === "failed";
  return el("div", { class: "buttons" },
    r.state === "unknown" ? button("Settle…", resolve, "primary") : null,
    ended && !r.not_kept ? button("Erase result…", erase) : null,
    ended || r.state === "not_executed" ? button("Forget key…", forget, "danger") : null,
    el("button", { type: "button", on: { click: again } }, "Reload"));
}

const kept = { expired: "not kept: its retention ended", too_large: "not kept: it was too large", erased: "erased by a person" };
const voices = { report: "the attempt's own report", nobody: "nobody", resolve: "a probe or a person" };

function facts(r) {
  const rows = [
    ["Operation", el("a", { href: `#/records?${new URLSearchParams({ operation: r.operation })}` }, r.operation)],
    ["Scope", r.scope || el("span", { class: "quiet" }, "none")],
    ["Attempt", `${r.attempt}, executed by the ${r.executed_by}`],
    ["If unknown", { hold: "held until it is settled", probe: "probed", retry: "run again" }[r.on_unknown]],
    ["Settled by", voices[r.settled_by]],
    ["Message", r.message],
    ["Upstream answered", r.upstream_status && `HTTP ${r.upstream_status}`],
    ["Result", kept[r.not_kept]],
    ["Replays", `${count(r.replays)} by this instance`],
    ["Created", moment(r.created_at)],
    ["Changed", moment(r.updated_at)],
    ["Lease ends", r.lease_expires_at && [moment(r.lease_expires_at), ", ", until(r.lease_expires_at)]],
    ["Result kept until", r.result_expires_at && moment(r.result_expires_at)],
    ["Key kept until", r.key_expires_at && moment(r.key_expires_at)],
    ["Fence", String(r.fence)],
    ["Trace", r.trace_id && el("code", null, r.trace_id)],
    ["Fingerprint", el("code", null, r.fingerprint)],
  ];
  return el("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value))));
}

const by = (e) => e.actor || "a probe";

// differs tells that an entry is a late report, and not what the attempt had been settled as.
const differs = (e, before) => e.what === "reported_late" && before?.what === "resolved" && before.outcome !== e.outcome;

const stories = {
  claimed: (e) => `Attempt ${e.attempt} began`,
  renewed: () => "Its lease was prolonged, the last time now",
  reported: (e) => `It reported: ${words(e.outcome)}`,
  lapsed: () => "Its lease ended without a report",
  probed: () => "A probe did not find out",
  reported_late: (e, before) => `It reported late: ${words(e.outcome)}${differs(e, before) ? ", which contradicts that" : ""}`,
  contradicted: (e) => `Contradicted: ${e.attempt ? `attempt ${e.attempt}` : "an earlier attempt"} reported ${words(e.outcome ?? "another outcome")}`,
  resolved: (e) => `Settled by ${by(e)}: ${words(e.outcome)}`,
  erased: (e) => `Result erased by ${by(e)}`,
};

function timeline(r) {
  return [
    r.history_dropped ? el("p", { class: "quiet" }, `${count(r.history_dropped)} entries were not kept.`) : null,
    el("ol", { class: "timeline" }, r.history.map((e, i, all) => el("li", { class: differs(e, all[i - 1]) ? "contradicted" : `${e.what} ${e.outcome ?? ""}` },
      moment(e.at), el("strong", null, stories[e.what]?.(e, all[i - 1]) ?? words(e.what)), e.note ? el("span", { class: "told" }, e.note) : null))),
  ];
}

const mostShown = 1 << 18; // characters of a result, as it may be larger than a page can be

// result shows what the record ended with when it is asked for, as it may be nobody's business.
function result(r, signal) {
  const place = el("div", { role: "status" });
  const show = async () => {
    try {
      const text = await api.getText(`keys/${r.id}`, { result: true }, signal);
      const json = resultIn(text);
      fill(place, json === null ? el("p", { class: "empty" }, "There is no result, or it is not kept.")
        : [el("pre", { tabindex: "0", role: "region", "aria-label": "Result, as it is stored" }, indent(json.slice(0, mostShown))),
          json.length > mostShown ? el("p", { class: "quiet" }, `These are the first ${count(mostShown)} of ${count(json.length)} characters: atmost keys show --result prints them all.`) : null]);
    } catch (error) {
      if (error.name !== "AbortError") fill(place, problem(error));
    }
  };
  return el("section", { class: "panel", "aria-labelledby": "result-title" },
    el("h2", { id: "result-title" }, "Result"),
    r.not_kept ? el("p", { class: "empty" }, `The result is ${kept[r.not_kept]}.`)
      : el("div", { class: "buttons" }, el("button", { type: "button", on: { click: show } }, "Show result"), el("small", null, "It may hold what is nobody's business.")),
    place);
}

// resultIn cuts the result out of a record's JSON, byte for byte: it comes last, and no string can hold the mark before it.
function resultIn(text) {
  const mark = ',"result":', at = text.indexOf(mark);
  return at < 0 ? null : text.slice(at + mark.length, text.lastIndexOf("}"));
}

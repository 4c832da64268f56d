// What a person can change about a record. Each change names the attempt that was seen, and is refused if there is another by then.
import * as api from "./api.js";
import { buttons, confirm, open, person, sends, trouble, whoAndWhy } from "./dialog.js";
import { check, el, field, fill, notify } from "./dom.js";
import { words } from "./format.js";
import { refresh } from "./live.js";

const named = (r) => (r.scope ? `${r.key} (scope ${r.scope})` : r.key);

// done says what was changed, and shows the record as it is now.
function done(text, again) {
  return () => {
    refresh();
    again().then(() => notify(text));
  };
}

export function erase(r, again) {
  confirm({
    title: "Erase the result?",
    warning: [
      `No answer for ${named(r)} will have the result any more: clients get RESULT_NOT_KEPT. It cannot be brought back.`,
      "The key stays, so nothing is executed again. The disk, and backups, may hold the result for a while.",
    ],
    acknowledge: "The result is not needed by any client any more",
    act: "Erase result", kind: "danger",
  }, (form) => api.post(`keys/${r.id}/erase`, { expected_attempt: r.attempt, ...whoAndWhy(form) }),
  done("The result is erased.", again));
}

export function forget(r) {
  confirm({
    title: "Forget the key?",
    warning: [
      `The next request with ${named(r)} executes ${r.operation} again, whatever was executed before. A client that still retries is enough.`,
    ],
    acknowledge: "It may be executed again",
    act: "Forget key", kind: "danger",
  }, (form) => api.post(`keys/${r.id}/forget`, { expected_attempt: r.attempt, ...whoAndWhy(form) }),
  (_, left) => {
    const tell = () => notify(`The key ${r.key} is forgotten.`);
    refresh();
    if (left) return tell();
    location.hash = "#/records";
    addEventListener("shown", tell, { once: true });
  });
}

const outcomes = {
  completed: {
    label: "Completed", means: "It happened.",
    follows: "Every answer for the key is this result from now on.", sure: "I have seen that it happened",
  },
  failed: {
    label: "Failed", means: "It was answered with an error that is final.",
    follows: "Every answer for the key is this error from now on. Nothing is executed again.", sure: "I have seen that it failed, and had no effect that should be told",
  },
  not_executed: {
    label: "Not executed", means: "Surely nothing happened, and nothing is on its way.",
    follows: "The next request with the key executes the operation. If you are wrong, it happens twice.", sure: "I am sure that nothing happened",
  },
};

// resolve asks for the outcome, and then for a look at what follows from it.
export function resolve(r, again) {
  const result = el("textarea", { name: "result", rows: "4", class: "code", spellcheck: "false" });
  const code = el("input", { name: "code", maxlength: "255", spellcheck: "false", autocomplete: "off" });
  const message = el("input", { name: "message", autocomplete: "off" });
  const parts = {
    completed: el("div", null, field("Result", result, "JSON, replayed byte for byte; null if you leave it empty")),
    failed: el("div", { class: "pair" }, field("Error code", code, "For programs; it may be left empty with the message"), field("Error message", message, "For people")),
    not_executed: el("p", { class: "problem" }, outcomes.not_executed.follows),
  };
  const chosen = () => form.elements.outcome.value;
  const choose = () => {
    for (const [outcome, part] of Object.entries(parts)) part.hidden = outcome !== chosen();
    code.required = chosen() === "failed" && message.value !== "";
    result.setCustomValidity("");
  };
  const form = el("form", { on: { input: choose } },
    el("fieldset", null, el("legend", null, `What did attempt ${r.attempt} of ${named(r)} do?`),
      Object.entries(outcomes).map(([value, { label, means }]) => el("label", { class: "choice" },
        el("input", { type: "radio", name: "outcome", value, required: true }), el("span", null, el("b", null, label), " ", means)))),
    Object.values(parts), person(), buttons("Review", "primary"));
  choose();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (chosen() === "completed" && result.value.trim()) {
      result.setCustomValidity(api.whyNotJSON(result.value));
      if (!result.reportValidity()) return;
    }
    review(box, form, r, done(`Attempt ${r.attempt} is settled as ${words(chosen())}.`, again));
  });
  const box = open("Settle what is unknown", form);
}

// review shows what was filled in, and what follows, and sends it.
function review(box, form, r, then) {
  const outcome = form.elements.outcome.value, { label, follows, sure } = outcomes[outcome], { actor, reason } = whoAndWhy(form);
  const result = form.elements.result.value.trim(), code = form.elements.code.value, message = form.elements.message.value;
  const body = { expected_attempt: r.attempt, outcome, actor, reason }, raw = {};
  if (outcome === "completed" && result) raw.result = result;
  if (outcome === "failed" && code) body.error = { code, message };
  const back = el("button", { type: "button", on: { click: () => {
    last.replaceWith(form);
    form.querySelector("[type=submit]").focus();
  } } }, "Back");
  const rows = [
    ["Key", named(r)], ["Operation", r.operation], ["Attempt", r.attempt], ["Outcome", label],
    outcome === "completed" && ["Result", el("pre", { tabindex: "0", role: "region", "aria-label": "Result" }, result || "null")],
    body.error && ["Error", `${code}: ${message}`],
    ["Who, and why", `${actor}: ${reason}`],
  ].filter(Boolean);
  const last = el("form", { on: { submit: sends(() => api.post(`keys/${r.id}/resolve`, body, raw), then) } },
    el("h3", { tabindex: "-1" }, "Is this so?"),
    el("dl", { class: "facts" }, rows.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value)))),
    el("p", { class: outcome === "not_executed" ? "problem" : "advice" }, follows),
    check(sure, { name: "sure", required: true }),
    trouble(), buttons(`Settle as ${words(outcome)}`, outcome === "not_executed" ? "danger" : "primary", back));
  form.replaceWith(last);
  last.querySelector("h3").focus();
}

// Why a request is refused as another one than the key was used for.
import * as api from "./api.js";
import { el, field, fill, problem } from "./dom.js";

export function compareForm(r) {
  const operation = el("input", { name: "operation", value: r.operation, required: true, maxlength: "255", autocomplete: "off", spellcheck: "false" });
  const payload = el("textarea", { name: "payload", required: true, rows: "6", class: "code", spellcheck: "false", autocomplete: "off" });
  const verdict = el("div", { role: "status", class: "verdict" });
  payload.addEventListener("input", () => payload.setCustomValidity(""));
  const submit = async (event) => {
    event.preventDefault();
    const wrong = api.whyNotJSON(payload.value);
    payload.setCustomValidity(wrong);
    if (!payload.reportValidity()) return;
    try {
      const compared = await api.post(`keys/${r.id}/compare`, { operation: operation.value }, { payload: payload.value });
      fill(verdict, explain(compared, r));
    } catch (error) {
      fill(verdict, problem(error));
    }
  };
  return el("section", { class: "panel", "aria-labelledby": "compare-title" },
    el("h2", { id: "compare-title" }, "Compare a request"),
    el("p", { class: "quiet" }, "A client gets PAYLOAD_MISMATCH, or OPERATION_MISMATCH? Paste what it sends. Nothing is changed, or kept."),
    el("form", { class: "compare", on: { submit } },
      field("Operation", operation), field("Payload", payload, "JSON, as it is sent"),
      el("div", { class: "buttons" }, el("button", { type: "submit" }, "Compare"))),
    verdict);
}

function explain({ same, same_operation: sameOperation, differs }, r) {
  if (same) return el("p", { class: "good" }, "It is the same request: the key answers it.");
  if (!sameOperation) return el("p", { class: "bad" }, `It is another operation: the key was used for ${r.operation}.`);
  if (!differs?.length) {
    return el("p", { class: "bad" }, "The payload is another one. Where it differs is not known. White space and the order of members make no difference; how a number is written does.");
  }
  return [
    el("p", { class: "bad" }, "The payload is another one. It differs at:"),
    el("ul", { class: "paths" }, differs.map((path) => el("li", null, path === "" ? "the whole of it" : el("code", null, path)))),
  ];
}

// Dialogs in which a person changes something: who it is, why, and what follows.
import { Refusal } from "./api.js";
import { check, el, field, fill, notify, problem } from "./dom.js";

const remembered = "atmost-actor"; // for as long as the tab is open

// open shows content in a modal dialog, and returns the dialog.
export function open(title, ...content) {
  const box = el("dialog", { "aria-labelledby": "dialog-title" }, el("h2", { id: "dialog-title" }, title), content);
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

// person are the fields that say who changes something, and why.
export function person() {
  return [
    field("Who you are", el("input", {
      name: "actor", required: true, maxlength: "100", autocomplete: "username", spellcheck: "false", value: sessionStorage.getItem(remembered),
    })),
    field("Why", el("input", { name: "reason", required: true, maxlength: "500", autocomplete: "off" }),
      "How you know, or a ticket. Both are kept in the audit trail, and in the log: write no keys here."),
  ];
}

// whoAndWhy reads them.
export function whoAndWhy(form) {
  const data = new FormData(form), actor = data.get("actor").trim(), reason = data.get("reason").trim();
  sessionStorage.setItem(remembered, actor);
  return { actor, reason };
}

// buttons are those that end a dialog; act is what the one does that sends it.
export function buttons(act, kind, back) {
  return el("div", { class: "buttons" },
    el("button", { type: "submit", class: kind }, act),
    back ?? el("button", { type: "button", on: { click: (event) => event.target.closest("dialog").close() } }, "Cancel"));
}

// sends returns what handles a form's submit event: it has send make the change, closes the dialog and goes on, or tells why not. Nothing
// leads out of the dialog meanwhile but another page; then is told whether that was gone to.
export function sends(send, then) {
  return async (event) => {
    event.preventDefault();
    const form = event.target, box = form.closest("dialog"), trouble = form.querySelector(".trouble"), all = form.querySelectorAll("button");
    if (box.ariaBusy) return;
    const stay = (cancel) => cancel.preventDefault();
    const busy = (is) => {
      box.ariaBusy = is || null;
      for (const button of all) button.disabled = is;
      (is ? box.addEventListener : box.removeEventListener).call(box, "cancel", stay);
    };
    fill(trouble);
    busy(true);
    try {
      const answer = await send(form), left = !box.open;
      box.close();
      then(answer, left);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (box.open) fill(trouble, problem(error));
      else notify(error.message, "bad");
    } finally {
      busy(false);
      if (box.open) event.submitter?.focus();
    }
  };
}

// closeAll closes what is open, as another page is gone to.
export function closeAll() {
  for (const box of document.querySelectorAll("dialog[open]")) box.close();
}

// trouble is where a form tells what went wrong.
export const trouble = () => el("div", { class: "trouble" });

// confirm asks for who and why, and for a tick at what follows, before something is changed.
export function confirm({ title, warning, acknowledge, act, kind, fields }, send, then) {
  const form = el("form", { on: { submit: sends(send, then) } },
    warning.map((text) => el("p", null, text)), fields, person(), check(acknowledge, { name: "sure", required: true }),
    trouble(), buttons(act, kind));
  return open(title, form);
}

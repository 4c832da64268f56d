// The banner of a store that may have forgotten keys, and refuses new ones.
import * as api from "./api.js";
import { confirm, whoAndWhy } from "./dialog.js";
import { check, el, field, fill, notify } from "./dom.js";
import { live, refresh, watch } from "./live.js";

export function guardBanner() {
  const banner = document.getElementById("guarded");
  fill(banner,
    el("div", null,
      el("h2", { id: "guarded-title" }, "The store is guarded"),
      el("p", null, "It may have forgotten keys, so new ones are answered OUTCOME_UNKNOWN until their scope is admitted.")),
    el("button", { type: "button", on: { click: admit } }, "Admit…"));
  watch(() => {
    if (live.overview) banner.hidden = !live.overview.guarded;
  });
}

function admit() {
  const scopes = el("textarea", { name: "scopes", rows: "3", class: "code", spellcheck: "false" });
  const choice = (value, label) => el("label", { class: "choice" },
    el("input", { type: "radio", name: "which", value, required: true, checked: value === "some" }), el("span", null, label));
  const some = el("div", null, field("Scopes", scopes, "One on each line"), check("Keys without a scope", { name: "without" }));
  const fields = el("fieldset", { on: { input: () => { some.hidden = box.querySelector("[name=which]:checked").value === "all"; } } },
    el("legend", null, "Which keys?"), choice("some", "Those of the scopes that I have checked"), choice("all", "All"), some);
  const box = confirm({
    title: "Admit new keys?",
    warning: ["A key that was executed and then forgotten runs again when its client retries. Check with the systems that the operations call, first."],
    fields, acknowledge: "I have checked what was executed since the backup", act: "Admit", kind: "danger",
  }, (form) => {
    const data = new FormData(form), body = whoAndWhy(form);
    if (data.get("which") === "all") return api.post("admit", { all: true, ...body });
    const named = data.get("scopes").split("\n").map((s) => s.trim()).filter(Boolean);
    return api.post("admit", { scopes: data.has("without") ? [...named, ""] : named, ...body });
  }, ({ guarded }) => {
    refresh();
    notify(guarded ? "These are admitted. Other scopes are guarded still." : "All keys are admitted.");
    document.querySelector("h1")?.focus();
  });
}

// Where the address leads, and what is around every page.
import { audit } from "./audit.js";
import { closeAll } from "./dialog.js";
import { el, fill, notify } from "./dom.js";
import { clock } from "./format.js";
import { guardBanner } from "./guard.js";
import { begin, live, pause, watch } from "./live.js";
import { operations } from "./operations.js";
import { overview } from "./overview.js";
import { record } from "./record.js";
import { records } from "./records.js";

const pages = new Map(Object.entries({ "": overview, records, operations, audit }));
const main = document.getElementById("content");
let leaving = new AbortController();
let before = null; // the page that was shown

// route shows what the address names after its "#". The focus goes to the page's heading, or after a search to what was found.
async function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  if (!location.hash.startsWith("#/") && location.hash !== "") return; // a place on the page
  const [name, id] = path.split("/");
  leaving.abort();
  closeAll();
  leaving = new AbortController();
  const { signal } = leaving;
  notify("");
  const page = id === undefined ? pages.get(name) : name === "records" ? record : undefined;
  if (page) await page(main, new URLSearchParams(query), signal, id);
  else fill(main, el("h1", { tabindex: "-1" }, "There is nothing here"));
  if (signal.aborted) return;
  const heading = (before === path && main.querySelector("#results-title")) || main.querySelector("h1");
  document.title = path === "" ? "Atmost" : `${main.querySelector("h1").textContent} – Atmost`;
  for (const a of document.querySelectorAll("header nav a")) {
    const here = a.getAttribute("href") === `#/${name}`;
    if (here) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  if (before !== null) {
    heading.focus({ preventScroll: before === path });
    if (before !== path) scrollTo(0, 0);
  }
  before = path;
  dispatchEvent(new Event("shown"));
}

function instance() {
  const about = document.getElementById("about"), pulse = document.getElementById("pulse");
  if (live.overview) about.textContent = `${live.overview.version} · ${live.overview.store}`;
  const at = live.at ? clock(new Date(live.at)) : "";
  pulse.className = `pulse ${live.failure ? "lost" : live.paused ? "paused" : "on"}`;
  pulse.textContent = live.failure ? (at ? `no answer, stale since ${at}` : "no answer") : live.paused ? "paused" : at && `live ${at}`;
  pulse.title = live.failure?.message ?? "";
}

const button = document.getElementById("pause");
button.addEventListener("click", () => {
  pause(!live.paused);
  button.setAttribute("aria-pressed", live.paused);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address tells the page
  main.focus();
});
guardBanner();
watch(instance);
addEventListener("hashchange", route);
begin();
route();

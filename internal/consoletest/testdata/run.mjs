// Plays every scene in a browser of its own kind, and tells of each in one line of JSON.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { scenes } from "./scenes.mjs";

const given = JSON.parse(process.argv[2]);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const ours = new Set([given.service, given.busy, given.guarded].flatMap((s) => Object.values(s).map((at) => new URL(at).origin)));
mkdirSync(given.shots, { recursive: true });

const browser = await chromium.launch({
  executablePath: given.chromium, args: given.root ? ["--no-sandbox"] : [], // which does not work for root
});

// watched is a page that is held to what no page of the console may do. faults lists what it did; expected ones are left out.
async function watched(options = {}) {
  const { expected, ...rest } = options;
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, timezoneId: "UTC", locale: "en-GB", ...rest });
  context.setDefaultTimeout(60_000); // only what hangs uses it up
  const page = await context.newPage();
  const faults = [];
  const fault = (text) => {
    if (!expected?.test(text)) faults.push(text);
  };
  await page.addInitScript(() => addEventListener("securitypolicyviolation", (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`)));
  page.on("console", (m) => (m.type() === "error" || m.type() === "warning") && fault(`console: ${m.text()}`));
  page.on("pageerror", (e) => fault(`error: ${e.stack}`));
  page.on("request", (r) => ours.has(new URL(r.url()).origin) || fault(`request: ${r.url()}`));
  return { context, page, faults };
}

// accessible fails with what axe finds wrong with the page.
async function accessible(page) {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  if (violations.length) {
    throw new Error(violations.map((v) => `${v.id}: ${v.help}\n${v.nodes.map((n) => `  ${n.html}\n  ${n.failureSummary}`).join("\n")}`).join("\n"));
  }
}

// perform plays a scene and tells of it.
async function perform({ name, play, ...options }) {
  const begun = performance.now();
  const { context, page, faults } = await watched(options);
  let error = "";
  try {
    await play({ page, ...given, accessible: () => accessible(page), shot: (file) => page.screenshot({ path: `${given.shots}/${file}.png` }) });
  } catch (e) {
    error = e.stack;
    await page.screenshot({ path: `${given.shots}/failed-${name.replaceAll(/\W+/g, "-")}.png` }).catch(() => {});
  }
  await context.close();
  error = [error, ...faults].filter(Boolean).join("\n");
  console.log(JSON.stringify({ name, seconds: (performance.now() - begun) / 1000, error }));
}

const waiting = scenes.filter(({ name }) => name.includes(process.env.SCENE ?? ""));
await Promise.all([1, 2].map(async () => {
  for (let scene; (scene = waiting.shift());) await perform(scene);
}));
await browser.close();

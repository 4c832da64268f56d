// What people do in the console, and what has to come of it. A scene makes the records that it is about.
import assert from "node:assert/strict";
import { client, id } from "./client.mjs";

// texts are those of all elements that match.
const texts = (page, selector) => page.locator(selector).allInnerTexts();

const heading = (page, name) => page.getByRole("heading", { name, level: 1 }).waitFor();

// focused is the text of the element that has the focus, or its label.
const focused = (page) => page.evaluate(() => {
  const e = document.activeElement;
  return (e.labels?.[0] ?? e.closest("label") ?? e).textContent.trim();
});

// tabTo presses the tab key until the element with that text, or label, has the focus.
async function tabTo(page, text) {
  for (let i = 0; i < 80; i++) {
    await page.keyboard.press("Tab");
    if ((await focused(page)).startsWith(text)) return;
  }
  assert.fail(`the tab key does not lead to ${text}, but to ${await focused(page)}`);
}

// goTo shows a page of the console and waits for its heading.
async function goTo(page, base, path, name) {
  await page.goto(`${base}console/#/${path}`);
  await heading(page, name);
}

// fits tells that nothing of the page is beyond its right edge.
async function fits(page) {
  const [content, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.equal(content, width, "the page is wider than the screen");
}

// said fills in who changes something, and why.
async function said(page, reason) {
  await page.getByLabel("Who you are").fill("ada");
  await page.getByLabel("Why").fill(reason);
}

// contradicted makes a record whose client says that it was executed after a person had said that it was not.
async function contradicted(service, key) {
  const token = await service.lease(key);
  await service.fail(key, token, "unknown", "the printer was gone");
  await service.change(key, "resolve", { expected_attempt: 1, outcome: "not_executed", reason: "no invoice in the archive, ticket 12" });
  const late = await service.complete(key, token, '{"invoice":"2026-0815"}');
  assert.equal(late.status, 200, late.text);
}

// traffic lets time pass in which clients ask, and the page see it: the time is the page's alone, the requests are real.
async function traffic(page, service, polls) {
  await page.evaluate(async () => { globalThis.watch = (await import(new URL("live.js", document.baseURI))).watch; });
  for (let i = 0; i < polls; i++) {
    const busy = Math.round(34 + 15 * Math.sin(i / 7) + 6 * Math.sin(i * 2.3));
    await Promise.all(Array.from({ length: busy }, (_, j) => {
      const again = j % 5 < 2 && i > 0; // a retry of what was asked for in the turn before
      const n = 10_000 + (again ? i - 1 : i) * 100 + j - (again ? j % 5 : 0) + (again ? 4 : 0);
      const operation = ["payment.charge", "payment.charge", "order.create", "email.send"][n % 4];
      if (j === 5 && i % 3 === 0) return service.execute(`order-${n}-declined`, { card: "declined" });
      if (again && j === 6 && i % 2 === 0) return service.execute(`order-${n}`, { operation, payload: { amount: 1 } });
      return service.execute(`order-${n}`, { operation });
    }));
    await page.evaluate(() => { globalThis.told = new Promise((resolve) => globalThis.watch(resolve)); });
    await page.clock.runFor(2000);
    await page.evaluate(() => globalThis.told);
  }
}

async function doubts(service) {
  for (const n of [8207, 8388, 8612]) await service.execute(`order-${n}`, { card: "lost" });
  await service.execute("tenant-order-7", { card: "lost", scope: "acme" });
  await service.execute("order-stuck", { card: "stuck", operation: "report.render" });
}

export const scenes = [
  {
    name: "what it does now",
    async play({ page, busy: at, accessible, shot }) {
      const service = client(at);
      await doubts(service);
      const begin = Date.now() - 120_000; // so that the page's time ends up about right
      await page.clock.install({ time: begin });
      await goTo(page, at.admin, "", "Overview");
      await page.clock.pauseAt(begin + 60_000);
      await traffic(page, service, 45);
      await shot("overview-light");
      assert.match((await texts(page, ".tile"))[0], /^Answers per second\n[1-9][\d.]*\n[\d.]+ executed, [\d.]+ replayed$/);
      await shot("overview-light");
      const tiles = (await texts(page, ".tile")).join("\n");
      assert.match(tiles, /In flight\n1\n/);
      assert.match(tiles, /Unknown\n4\nthe oldest for/);
      assert.match(tiles, /Latency, median\n[\d.]+ ms\n99 % within [\d.]+ ms/);
      assert.match((await texts(page, ".halves tbody tr"))[3], /^payment.charge\t[\d.]+\t[\d.]+\t[\d.]+/);
      assert.match((await texts(page, ".legend"))[0], /executed [\d.]+\s+replayed [\d.]+\s+under way [\d.]+\s+failed or unknown [\d.]+\s+refused [\d.]+/);
      await page.emulateMedia({ colorScheme: "dark" });
      await shot("overview-dark");
      await page.clock.resume(); // axe waits, too
      await accessible();
      await page.emulateMedia({ colorScheme: "light" });
      await accessible();
      await page.setViewportSize({ width: 390, height: 844 });
      await fits(page);
      await shot("overview-phone");
      await page.getByRole("button", { name: "Pause" }).click();
      const before = (await texts(page, ".tiles"))[0];
      await service.execute("while-paused", { card: "lost" });
      await page.clock.fastForward(10_000);
      assert.equal((await texts(page, ".tiles"))[0], before);
      assert.equal(await page.locator("#pulse").innerText(), "paused");
      await page.getByRole("button", { name: "Pause" }).click();
      await page.locator(".tile", { hasText: "Unknown" }).getByRole("link", { name: "5" }).click();
      await heading(page, "Records");
      assert.equal(await page.getByLabel("State").inputValue(), "unknown");
    },
  },
  {
    name: "records are found",
    async play({ page, service: at, accessible, shot }) {
      const service = client(at);
      await Promise.all(Array.from({ length: 60 }, (_, i) => service.execute(`many-${String(i).padStart(3, "0")}`, { scope: "crowd" })));
      await service.execute("found-1");
      await service.execute("found-1", { scope: "acme" });
      await service.execute("declined-1", { card: "declined" });
      await service.execute("down-1", { card: "down" });
      await service.execute("lost-1", { card: "lost" });
      await service.lease("leased-1");
      await contradicted(service, "invoice-1");
      await goTo(page, at.admin, "records", "Records");
      const keys = () => texts(page, "tbody a.key");
      const search = async () => {
        await page.getByRole("button", { name: "Search" }).click();
        await page.locator("section[aria-busy]").waitFor({ state: "detached" });
      };
      await page.getByLabel("Key").fill("found-1");
      await search();
      await page.getByRole("heading", { name: "2 records" }).waitFor();
      assert.deepEqual(await keys(), ["found-1", "acme found-1"]);
      assert.match(await focused(page), /^2 records/);
      assert.match(page.url(), /#\/records\?key=found-1$/);
      await page.getByLabel("without a scope").check();
      await search();
      await page.getByRole("heading", { name: "1 record", exact: true }).waitFor();
      for (const [state, key] of [["processing", "leased-1"], ["completed", "invoice-1"], ["failed", "declined-1"], ["not executed", "down-1"], ["unknown", "lost-1"]]) {
        await page.getByRole("link", { name: "Clear" }).click();
        await page.waitForURL(/#\/records$/);
        await page.getByLabel("State").selectOption({ label: state });
        if (state === "completed") await page.getByLabel("Operation").fill("invoice.number");
        await search();
        await page.waitForURL(/state=/);
        await page.locator("tbody tr", { hasText: key }).getByText(state, { exact: true }).waitFor();
        assert.ok((await texts(page, "tbody .badge")).every((s) => s === state));
      }
      await page.getByRole("link", { name: "Clear" }).click();
      await page.getByLabel("Scope", { exact: true }).fill("crowd");
      await search();
      await page.getByRole("heading", { name: "50 records on this page" }).waitFor();
      await page.getByRole("link", { name: "Next page" }).click();
      await page.getByRole("heading", { name: "10 records on this page" }).waitFor();
      assert.equal((await keys()).at(-1), "crowd many-059");
      await page.goBack();
      await page.getByRole("heading", { name: "50 records on this page" }).waitFor();
      await page.getByLabel("Unchanged for").fill("1000h");
      await search();
      await page.getByText("Nothing stored is as you ask for.").waitFor();
      await goTo(page, at.admin, "records?scope=", "Records");
      await page.getByRole("heading", { name: /^\d+ records/ }).waitFor();
      await accessible();
      await shot("records-light");
      await page.emulateMedia({ colorScheme: "dark" });
      await accessible();
      await page.setViewportSize({ width: 390, height: 844 });
      await fits(page);
      await shot("records-phone");
    },
  },
  {
    name: "a misspelt filter is explained", expected: /400 \(Bad Request\)/,
    async play({ page, service: at }) {
      await goTo(page, at.admin, "records?older_than=soon", "Records");
      await page.getByRole("alert").getByText("older_than is not a duration").waitFor();
    },
  },
  {
    name: "a record and its timeline",
    async play({ page, service: at, accessible, shot }) {
      const service = client(at);
      await contradicted(service, "invoice-2");
      await service.execute("with-result", { payload: { amount: 1 } });
      await goTo(page, at.admin, `records/${id("invoice-2")}`, "invoice-2");
      const story = (await texts(page, ".timeline strong")).join("; ");
      assert.equal(story, "Attempt 1 began; It reported: unknown; Settled by ada: not executed; It reported late: completed, which contradicts that");
      await page.getByText("the operation may have run twice").waitFor();
      await accessible();
      await shot("record-light");
      await page.emulateMedia({ colorScheme: "dark" });
      await accessible();
      await shot("record-dark");
      await page.setViewportSize({ width: 390, height: 844 });
      await fits(page);
      await shot("record-phone");
      await page.goto(`${at.admin}console/#/records/${id("with-result")}`);
      await page.getByRole("button", { name: "Show result" }).click();
      assert.match(await page.getByRole("region", { name: "Result, as it is stored" }).innerText(), /^{\n {2}"charge_id": "ch_\d+",\n {2}"status": "paid",\n {2}"amount": 42.00\n}$/);
      assert.equal(await page.title(), "with-result – Atmost");
    },
  },
  {
    name: "an unknown attempt is settled by keyboard",
    async play({ page, service: at, accessible, shot }) {
      const service = client(at);
      await service.execute("keyboard-1", { card: "lost" });
      await goTo(page, at.admin, "records", "Records");
      const press = (key) => page.keyboard.press(key);
      await tabTo(page, "Key");
      await page.keyboard.type("keyboard-1");
      await press("Enter");
      await page.getByRole("heading", { name: "1 record", exact: true }).waitFor();
      await tabTo(page, "keyboard-1");
      await press("Enter");
      await heading(page, "keyboard-1");
      assert.match(await focused(page), /^keyboard-1/);
      await tabTo(page, "Settle…");
      await press("Enter");
      await page.getByRole("dialog", { name: "Settle what is unknown" }).waitFor();
      await press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      assert.equal(await focused(page), "Settle…");
      await press("Enter");
      await page.getByRole("dialog").waitFor();
      assert.match(await focused(page), /^Completed/);
      await press("ArrowDown");
      assert.match(await focused(page), /^Failed/);
      await press("ArrowDown");
      await page.getByRole("dialog").getByText("If you are wrong, it happens twice").waitFor();
      await accessible();
      await press("ArrowDown");
      await tabTo(page, "Result");
      await page.keyboard.type('{"total": 12345678901234567890.10}');
      await tabTo(page, "Who you are");
      await page.keyboard.type("ada");
      await tabTo(page, "Why");
      await page.keyboard.type("the bank shows it, ticket 7");
      await accessible();
      await shot("settle-light");
      await press("Enter");
      await page.getByRole("heading", { name: "Is this so?" }).waitFor();
      await accessible();
      await shot("settle-review");
      await tabTo(page, "I have seen that it happened");
      await press("Space");
      await tabTo(page, "Settle as completed");
      await press("Enter");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      await page.getByRole("status").getByText("Attempt 1 is settled as completed.").waitFor();
      assert.match(await focused(page), /^keyboard-1/);
      assert.deepEqual(await texts(page, ".title .badge"), ["completed"]);
      const { text } = await service.execute("keyboard-1", { card: "lost" });
      assert.equal(text, '{"status":"completed","result":{"total": 12345678901234567890.10}}');
    },
  },
  {
    name: "an attempt is settled as failed, and as not executed",
    async play({ page, service: at }) {
      const service = client(at);
      await service.execute("settle-failed", { card: "lost" });
      await service.execute("settle-not", { card: "lost" });
      await goTo(page, at.admin, `records/${id("settle-failed")}`, "settle-failed");
      await page.getByRole("button", { name: "Settle…" }).click();
      await page.getByRole("radio", { name: /^Failed/ }).check();
      await page.getByLabel("Error code").fill("declined");
      await page.getByLabel("Error message").fill("not enough money");
      await said(page, "ticket 8");
      await page.getByRole("button", { name: "Review" }).click();
      await page.getByText("declined: not enough money").waitFor();
      await page.getByRole("button", { name: "Back" }).click();
      assert.equal(await page.getByLabel("Error code").inputValue(), "declined");
      await page.getByRole("button", { name: "Review" }).click();
      await page.getByRole("checkbox").check();
      await page.getByRole("button", { name: "Settle as failed" }).click();
      await page.getByText("Attempt 1 is settled as failed.").waitFor();
      assert.match((await service.execute("settle-failed", { card: "lost" })).text, /"EXECUTION_FAILED".*not enough money/);
      await goTo(page, at.admin, `records/${id("settle-not")}`, "settle-not");
      await page.getByRole("button", { name: "Settle…" }).click();
      assert.equal(await page.getByLabel("Who you are").inputValue(), "ada", "who it is was not remembered");
      await page.getByRole("radio", { name: /^Not executed/ }).check();
      await said(page, "ticket 9");
      await page.getByRole("button", { name: "Review" }).click();
      await page.getByRole("button", { name: "Settle as not executed" }).click();
      assert.equal(await page.getByRole("dialog").count(), 1, "it was settled without the tick");
      await page.getByRole("checkbox").check();
      await page.getByRole("button", { name: "Settle as not executed" }).click();
      await page.getByText("Attempt 1 is settled as not executed.").waitFor();
    },
  },
  {
    name: "a change of what has moved on is refused", expected: /409 \(Conflict\)/,
    async play({ page, service: at }) {
      const service = client(at);
      await service.execute("moved-on", { card: "lost" });
      await goTo(page, at.admin, `records/${id("moved-on")}`, "moved-on");
      await page.getByRole("button", { name: "Settle…" }).click();
      await page.getByRole("radio", { name: /^Completed/ }).check();
      await page.getByLabel("Result").fill("{broken");
      await said(page, "ticket 9");
      await page.getByRole("button", { name: "Review" }).click();
      assert.equal(await page.getByRole("heading", { name: "Is this so?" }).count(), 0, "a broken result was taken");
      await page.getByLabel("Result").fill("");
      await service.change("moved-on", "resolve", { expected_attempt: 1, outcome: "not_executed" });
      await page.getByRole("button", { name: "Review" }).click();
      await page.getByRole("checkbox").check();
      await page.getByRole("button", { name: "Settle as completed" }).click();
      await page.getByRole("alert").getByText("STATE_CONFLICT").waitFor();
      await page.getByRole("button", { name: "Back" }).click();
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.getByRole("button", { name: "Reload" }).click();
      await page.locator(".title .badge.not_executed").waitFor();
    },
  },
  {
    name: "a result is erased, and a key forgotten",
    async play({ page, service: at, accessible, shot }) {
      const service = client(at);
      await service.execute("old-order");
      await goTo(page, at.admin, `records/${id("old-order")}`, "old-order");
      await page.getByRole("button", { name: "Erase result…" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByText("It cannot be brought back.").waitFor();
      await accessible();
      await said(page, "the customer asked for it, ticket 8");
      await page.getByRole("checkbox").check();
      await dialog.getByRole("button", { name: "Erase result" }).click();
      await page.getByText("The result is erased.").waitFor();
      await page.getByText("The result is erased by a person.").waitFor();
      assert.match((await service.execute("old-order")).text, /RESULT_NOT_KEPT/);
      await page.getByRole("button", { name: "Forget key…" }).click();
      await dialog.getByText("executes payment.charge again").waitFor();
      await shot("forget-light");
      await said(page, "refunded, ticket 9");
      await dialog.getByRole("button", { name: "Forget key" }).click();
      assert.equal(await dialog.count(), 1, "it was forgotten without the tick");
      await page.getByRole("checkbox").check();
      await dialog.getByRole("button", { name: "Forget key" }).click();
      await page.getByText("The key old-order is forgotten.").waitFor();
      await heading(page, "Records");
      await page.goto(`${at.admin}console/#/audit`);
      await page.getByRole("row", { name: /forgot/ }).first().getByText("refunded, ticket 9").waitFor();
      await page.getByRole("row", { name: /erased/ }).first().getByText("completed → completed").waitFor();
      await accessible();
      await shot("audit-light");
      await page.setViewportSize({ width: 390, height: 844 });
      await fits(page);
    },
  },
  {
    name: "a mismatch is explained",
    async play({ page, service: at, accessible, shot }) {
      const service = client(at);
      await service.execute("compared", { payload: { amount: 4200, currency: "EUR", items: [{ id: 1 }] } });
      await goTo(page, at.admin, `records/${id("compared")}`, "compared");
      const verdict = page.locator(".verdict"), payload = page.getByLabel("Payload");
      const compare = async (text) => {
        await payload.fill(text);
        await page.getByRole("button", { name: "Compare" }).click();
      };
      await compare('{"items":[{"id":1}],"currency":"EUR","amount":4200}');
      await verdict.getByText("It is the same request").waitFor();
      await compare('{"amount":4200.0,"currency":"EUR","items":[{"id":2}]}');
      await verdict.getByText("/items/0/id").waitFor();
      assert.deepEqual(await texts(page, ".paths code"), ["/amount", "/items/0/id"]);
      await accessible();
      await shot("compare-light");
      await page.getByLabel("Operation").fill("order.create");
      await page.getByRole("button", { name: "Compare" }).click();
      await verdict.getByText("It is another operation").waitFor();
      await compare("{broken");
      assert.match(await payload.evaluate((e) => e.validationMessage), /^This is not JSON/);
    },
  },
  {
    name: "figures are right",
    async play({ page, service: at }) {
      await goTo(page, at.admin, "operations", "Operations");
      const figures = await page.evaluate(async () => {
        const of = (module) => import(new URL(module, document.baseURI));
        const [m, f, c] = [await of("metrics.js"), await of("format.js"), await of("chart.js")];
        const h = (...counts) => [0.1, 1, "+Inf"].map((le, i) => `took_bucket{operation="a\\"b,c",le="${le}"} ${counts[i]}`).join("\n");
        const [before, after] = [m.parse(`# HELP took x\nn{a="1"} 5\nn{a="2"} 1e3\n${h(5, 5, 5)}`), m.parse(`n{a="1"} 2\nn{a="2"} 1004 1700000000\n${h(9, 13, 13)}`)];
        return {
          label: m.parse(h(1, 1, 1)).get("took_bucket")[0].labels.operation,
          grown: m.increase(before, after, "n", (l) => l.a === "2"), restarted: m.increase(before, after, "n", (l) => l.a === "1"),
          half: m.quantile(before, after, "took", 0.5), most: m.quantile(before, after, "took", 0.75), beyond: m.quantile(before, m.parse(h(5, 5, 9)), "took", 0.5),
          nothing: m.quantile(before, before, "took", 0.5),
          spans: [0, 0.00042, 0.0123, 0.25, 3.14, 59, 61, 3600, 3720, 90_000, 172_800].map(f.span),
          rates: [0, 0.25, 9.96, 42.3, 12_345, null].map(f.rate),
          json: f.indent('{"a":[],"b":[1.0,"x,\\"{}"],"c":{ },"d":12345678901234567890}'),
          deep: f.indent(`${"[".repeat(40)}1, 2${"]".repeat(40)}`).split("\n").map((line) => line.length),
          long: [f.indent("[".repeat(1 << 18)), f.indent(`["${'\\"'.repeat(1 << 23)}"]`)].map((text) => text.length < 1 << 25),
          periods: [c.period(null, 1000), c.period(990, 1000), c.period(10, 1000)],
        };
      });
      assert.deepEqual(figures, {
        label: 'a"b,c', grown: 4, restarted: 2, half: 0.1, most: 0.55, beyond: 1, nothing: null,
        spans: ["0 ms", "0.42 ms", "12 ms", "250 ms", "3.1 s", "59 s", "1 min", "1 h", "1 h 2 min", "1 d 1 h", "2 d"],
        rates: ["0", "0.3", "10", "42", "12,345", "–"],
        json: '{\n  "a": [],\n  "b": [\n    1.0,\n    "x,\\"{}"\n  ],\n  "c": {},\n  "d": 12345678901234567890\n}',
        deep: [...Array.from({ length: 32 }, (_, i) => 2 * i + 1), 64 + 8 + "1,2".length + 8, ...Array.from({ length: 32 }, (_, i) => 2 * (31 - i) + 1)],
        long: [true, true],
        periods: [[880, 1000], [880, 1000], [10, 1000]],
      });
    },
  },
  {
    name: "what is too large for a page is shown in part",
    async play({ page, service: at }) {
      await client(at).execute("large");
      await goTo(page, at.admin, `records/${id("large")}`, "large");
      await page.route("**/admin/v1/keys/*?result=true", async (route) => {
        const text = await (await route.fetch()).text();
        await route.fulfill({ contentType: "application/json", body: text.replace(/,"result":.*$/, `,"result":"${'\\"'.repeat(1_000_000)}"}`) });
      });
      await page.getByRole("button", { name: "Show result" }).click();
      await page.getByText("These are the first 262,144 of 2,000,002 characters").waitFor();
      assert.equal((await page.getByRole("region", { name: "Result, as it is stored" }).textContent()).length, 262_144);
    },
  },
  {
    name: "there are no other pages",
    async play({ page, service: at }) {
      for (const name of ["constructor", "__proto__", "toString", "constructor/x", "nowhere"]) await goTo(page, at.admin, name, "There is nothing here");
    },
  },
  {
    name: "a page of a proxy is no answer",
    async play({ page, service: at }) {
      const service = client(at), login = (route) => route.fulfill({ contentType: "text/html", body: "<h1>Log in</h1>" });
      await service.execute("logged-out", { card: "lost" });
      await goTo(page, at.admin, `records/${id("logged-out")}`, "logged-out");
      await page.getByRole("button", { name: "Settle…" }).click();
      await page.getByRole("radio", { name: /^Not executed/ }).check();
      await said(page, "ticket 4");
      await page.getByRole("button", { name: "Review" }).click();
      await page.getByRole("checkbox").check();
      await page.route("**/resolve", login);
      await page.getByRole("button", { name: "Settle as not executed" }).click();
      await page.getByRole("alert").getByText("Does a proxy want you to log in?").waitFor();
      assert.equal(await focused(page), "Settle as not executed");
      await page.unroute("**/resolve");
      await page.getByRole("button", { name: "Settle as not executed" }).click();
      await page.getByText("Attempt 1 is settled as not executed.").waitFor();
      await service.execute("logged-out-2");
      await goTo(page, at.admin, `records/${id("logged-out-2")}`, "logged-out-2");
      await page.route("**/admin/v1/**", login);
      await page.getByRole("button", { name: "Show result" }).click();
      await page.getByRole("alert").getByText("Does a proxy want you to log in?").waitFor();
      await goTo(page, at.admin, "audit", "Audit trail");
      await page.getByRole("alert").getByText("Does a proxy want you to log in?").waitFor();
      await page.locator("#pulse.lost").waitFor();
      assert.match(await page.locator("#pulse").innerText(), /^no answer, stale since \d\d:\d\d:\d\d$/);
    },
  },
  {
    name: "what hangs is told",
    async play({ page, service: at }) {
      await page.addInitScript(() => {
        const { timeout } = AbortSignal;
        AbortSignal.timeout = (limit) => timeout.call(AbortSignal, limit / 100);
      });
      await page.route("**/admin/v1/overview", () => {});
      await page.goto(`${at.admin}console/`);
      await page.locator("#pulse.lost").getByText("no answer").waitFor();
      assert.match(await page.locator("#pulse").getAttribute("title"), /did not answer in time/);
      await page.unroute("**/admin/v1/overview");
      await page.locator("#pulse.on").waitFor();
    },
  },
  {
    name: "a page that is left stays left",
    async play({ page, service: at }) {
      const service = client(at);
      await service.execute("left", { card: "lost" });
      await goTo(page, at.admin, "audit", "Audit trail");
      await goTo(page, at.admin, `records/${id("left")}`, "left");
      await page.getByRole("button", { name: "Settle…" }).click();
      await page.getByRole("radio", { name: /^Completed/ }).check();
      await said(page, "ticket 5");
      await page.getByRole("button", { name: "Review" }).click();
      await page.getByRole("checkbox").check();
      let answer;
      const asked = new Promise((resolve) => page.route("**/resolve", (route) => { answer = () => route.continue(); resolve(); }));
      await page.getByRole("button", { name: "Settle as completed" }).click();
      await asked;
      assert.deepEqual(await page.getByRole("dialog").getByRole("button").evaluateAll((all) => all.map((b) => b.disabled)), [true, true]);
      await page.keyboard.press("Escape");
      assert.equal(await page.getByRole("dialog").count(), 1, "a change under way was dismissed");
      await page.goBack();
      await heading(page, "Audit trail");
      assert.equal(await page.getByRole("dialog").count(), 0, "a dialog of another page is open");
      await answer();
      await page.getByText("Attempt 1 is settled as completed.").waitFor();
      await heading(page, "Audit trail");
      assert.equal(await focused(page), "Audit trail");
    },
  },
  {
    name: "operations",
    async play({ page, service: at, accessible, shot }) {
      await goTo(page, at.admin, "operations", "Operations");
      const rows = await texts(page, "tbody tr");
      assert.deepEqual(rows.map((r) => r.split("\t").slice(0, 4)), [
        ["email.send", "service", "hold", "20s"], ["invoice.number", "client", "hold", "–"], ["order.create", "service", "hold", "5s"], ["payment.charge", "service", "hold", "10s"], ["report.render", "service", "hold", "5m0s"],
      ]);
      await page.getByRole("link", { name: "payment.charge" }).focus();
      await page.waitForResponse(/metrics$/);
      await page.waitForResponse(/overview$/);
      assert.equal(await focused(page), "payment.charge", "news took the focus away");
      await accessible();
      await shot("operations-light");
      await page.keyboard.press("Enter");
      await heading(page, "Records");
      assert.equal(await page.getByLabel("Operation").inputValue(), "payment.charge");
    },
  },
  {
    name: "a guarded store admits keys",
    async play({ page, guarded: at, accessible, shot }) {
      const service = client(at);
      assert.match((await service.execute("new-1")).text, /OUTCOME_UNKNOWN/);
      await goTo(page, at.admin, "", "Overview");
      const banner = page.getByRole("region", { name: "The store is guarded" });
      await banner.waitFor();
      await accessible();
      await banner.getByRole("button", { name: "Admit…" }).click();
      await shot("guarded-light");
      await page.getByLabel("Scopes", { exact: true }).fill("acme\ntenant-7");
      await said(page, "checked, ticket 11");
      await page.getByRole("checkbox", { name: "I have checked" }).check();
      await page.getByRole("dialog").getByRole("button", { name: "Admit" }).click();
      await page.getByText("Other scopes are guarded still.").waitFor();
      assert.equal((await service.execute("new-1", { scope: "acme" })).status, 200);
      assert.match((await service.execute("new-1")).text, /OUTCOME_UNKNOWN/);
      await banner.getByRole("button", { name: "Admit…" }).click();
      await page.getByRole("radio", { name: "All" }).check();
      await said(page, "all checked, ticket 11");
      await page.getByRole("checkbox", { name: "I have checked" }).check();
      await page.getByRole("dialog").getByRole("button", { name: "Admit" }).click();
      await page.getByText("All keys are admitted.").waitFor();
      await banner.waitFor({ state: "hidden" });
      assert.equal((await service.execute("new-1")).status, 200);
      await page.goto(`${at.admin}console/#/audit`);
      await page.getByRole("row", { name: /admitted a scope/ }).filter({ hasText: "tenant-7" }).waitFor();
      await page.getByRole("row", { name: /admitted all/ }).waitFor();
    },
  },
  {
    name: "behind a path of a proxy",
    async play({ page, service: at }) {
      const service = client(at);
      await service.execute("proxied", { card: "lost" });
      await page.goto(`${at.prefixed}console`);
      await heading(page, "Overview");
      assert.equal(new URL(page.url()).pathname, "/ops/atmost/console/");
      await page.getByRole("link", { name: "Records" }).click();
      await page.getByLabel("Key").fill("proxied");
      await page.getByRole("button", { name: "Search" }).click();
      await page.getByRole("link", { name: "proxied" }).click();
      await page.getByRole("button", { name: "Settle…" }).click();
      await page.getByRole("radio", { name: /^Completed/ }).check();
      await said(page, "ticket 3");
      await page.getByRole("button", { name: "Review" }).click();
      await page.getByRole("checkbox").check();
      await page.getByRole("button", { name: "Settle as completed" }).click();
      await page.getByText("Attempt 1 is settled as completed.").waitFor();
      await page.locator("#pulse.on").waitFor();
    },
  },
  {
    name: "what is stored stays text",
    async play({ page, service: at }) {
      const service = client(at), key = "<img/src=x/onerror=alert(1)>", scope = "<b>bold</b>";
      await service.execute(key, { card: "hostile", scope });
      await goTo(page, at.admin, `records?key=${encodeURIComponent(key)}`, "Records");
      await page.getByRole("link", { name: `${scope} / ${key}` }).click();
      await heading(page, key);
      await page.locator(".timeline").getByText("<img src=x onerror=").waitFor();
      assert.equal(await page.locator("main img, main b b").count(), 0);
      assert.equal(await page.title(), `${key} – Atmost`);
    },
  },
  {
    name: "no answer", expected: /Failed to load resource|503/,
    async play({ page, service: at }) {
      await goTo(page, at.admin, "", "Overview");
      await page.locator("#pulse.on").waitFor();
      await page.route("**/admin/v1/**", (route) => route.abort());
      await page.locator("#pulse.lost").waitFor();
      await page.goto(`${at.admin}console/#/records`);
      await page.getByRole("alert").getByText("The service did not answer.").waitFor();
      await page.unroute("**/admin/v1/**");
      await page.route("**/admin/v1/keys*", (route) => route.fulfill({ status: 502, contentType: "text/html", body: "<h1>Bad gateway</h1>" }));
      await page.getByRole("button", { name: "Search" }).click();
      await page.reload();
      await page.getByRole("alert").getByText("Something that is not the service answered with status 502.").waitFor();
    },
  },
  {
    name: "wrong addresses", expected: /40[04] \(/,
    async play({ page, service: at }) {
      await goTo(page, at.admin, "nowhere", "There is nothing here");
      await page.goto(`${at.admin}console/#/records/${id("never-was")}`);
      await page.getByRole("alert").getByText("KEY_NOT_FOUND").waitFor();
      await page.getByRole("link", { name: "All records" }).click();
      await heading(page, "Records");
    },
  },
];

#!/usr/bin/env node
// Charges an order once, however often it has to ask, and however often it is run.
// Usage: retry.mjs [URL [KEY_FILE]]
import { randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

// region execute
/** Has the operation executed at most once and returns its result. Every try has the same key and the same body. */
async function execute(url, key, body, patience = 120_000) {
  const headers = { "Idempotency-Key": key, "Content-Type": "application/json", Prefer: "wait=30" };
  const deadline = Date.now() + patience;
  let answer, backoff = 1;
  for (let left; (left = deadline - Date.now()) > 0;) {
    let status, advice, after;
    try {
      const signal = AbortSignal.timeout(Math.min(left, 40_000));
      const reply = await fetch(`${url}/v1/idempotency/execute`, { method: "POST", headers, body, signal });
      answer = await reply.text();
      JSON.parse(answer);
      [status, advice, after] = [reply.status, reply.headers.get("Idempotency-Retry"), reply.headers.get("Retry-After")];
    } catch (error) { // no answer, or not one of the service: it may have happened, so ask again
      answer = error.cause ?? error;
    }
    if (status === 200) return JSON.parse(answer).result;
    if (advice === "no") throw new Error(`refused: ${answer}`); // this answer will not change
    if (advice === "poll" && !after) // nor will this one, by itself
      throw new Error(`It may have happened. A person has to find out; do not try with another key. ${answer}`);
    if (!/^\d+$/.test(after)) [after, backoff] = [backoff, Math.min(2 * backoff, 16)];
    await sleep(Math.min(1000 * (Number(after) + Math.random() / 2), Math.max(0, deadline - Date.now())));
  }
  throw new Error(`Not known yet. It may have happened: run this again, with the same key. ${answer}`);
}
// endregion

/** One key for one charge, stored before the first try. An application keeps it in the row of the order. */
function storedKey(file) {
  try {
    writeFileSync(file, randomUUID(), { flag: "wx" });
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  }
  return readFileSync(file, "utf8").trim();
}

const [url = "http://127.0.0.1:8080", keyFile = "order-1042.key"] = process.argv.slice(2);
const order = '{"operation":"payment.charge","payload":{"order":1042,"amount":4200,"currency":"EUR"}}';
try {
  console.log(JSON.stringify(await execute(url, storedKey(keyFile), order)));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

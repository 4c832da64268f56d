// A client of the service, for what is to be seen in the console.
import { randomBytes } from "node:crypto";

async function send(url, headers, body) {
  const response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body });
  return { status: response.status, text: await response.text() };
}

const named = (key, scope) => ({ "Idempotency-Key": `"${key}"`, ...(scope ? { "Idempotency-Scope": `"${scope}"` } : {}) });

export const id = (key, scope = "") => Buffer.from(`${scope}\0${key}`).toString("base64url");

export function client({ public: base, admin }) {
  const api = `${base}v1/idempotency/`;
  return {
    execute: (key, { card = "ok", operation = "payment.charge", scope, payload } = {}) =>
      send(`${api}execute`, { ...named(key, scope), ...(card === "stuck" ? { Prefer: "respond-async" } : {}) }, JSON.stringify({ operation, payload: payload ?? { amount: 4200, currency: "EUR", card } })),
    // lease claims a key for a client, and returns its token.
    async lease(key, scope) {
      const token = randomBytes(16).toString("hex");
      const answer = await send(`${api}claim`, named(key, scope),
        JSON.stringify({ operation: "invoice.number", payload: { year: 2026 }, lease: "10m", lease_token: token }));
      if (JSON.parse(answer.text).status !== "claimed") throw new Error(answer.text);
      return token;
    },
    complete: (key, token, result) => send(`${api}complete`, named(key), `{"lease_token":"${token}","result":${result}}`),
    fail: (key, token, executed, message) =>
      send(`${api}fail`, named(key), JSON.stringify({ lease_token: token, executed, error: { code: "gone", message } })),
    change: (key, what, body, scope) => send(`${admin}admin/v1/keys/${id(key, scope)}/${what}`, {}, JSON.stringify({ actor: "ada", reason: "ticket 7", ...body })),
  };
}

// The admin API and the metrics, which are found beside the console, whatever path a proxy has put before both.
const base = new URL("../", document.baseURI);

// Refusal is an answer that is an error, or none of the service, or no answer.
export class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function request(path, options) {
  let response, text;
  try {
    response = await fetch(new URL(path, base), { cache: "no-store", credentials: "same-origin", ...options });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (error.name === "TimeoutError") throw new Refusal("", "The service did not answer in time.");
    throw new Refusal("", "The service did not answer. If you asked for a change, it may have been made: look before you ask again.");
  }
  if (response.ok) return text;
  let refusal;
  try {
    refusal = JSON.parse(text).error;
  } catch {
    refusal = undefined; // not of the service, but of something before it
  }
  if (!refusal) throw new Refusal("", `Something that is not the service answered with status ${response.status}.`);
  throw new Refusal(refusal.code, `${refusal.code}: ${refusal.message}.`);
}

// parsed is an answer as JSON. What stands before the service may answer with a page of its own, and call that a success.
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal("", "Something that is not the service answered, with a page of its own. Does a proxy want you to log in? Reload this page. A change may not have been made.");
  }
}

export const metrics = (signal) => request("metrics", { signal });

// get asks the admin API; parameters that are null or undefined are left out.
export async function get(path, parameters = {}, signal = undefined) {
  return parsed(await ask(path, parameters, signal));
}

// getText is get, of an answer whose numbers are to keep their digits.
export async function getText(path, parameters, signal) {
  const text = await ask(path, parameters, signal);
  parsed(text);
  return text;
}

function ask(path, parameters, signal) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined));
  return request(`admin/v1/${path}${query.size ? `?${query}` : ""}`, { signal });
}

// post asks the admin API for a change. Members of raw are JSON texts, and sent as they were written.
export async function post(path, members, raw = {}) {
  const parts = [
    ...Object.entries(members).filter(([, value]) => value !== undefined).map(([name, value]) => [name, JSON.stringify(value)]),
    ...Object.entries(raw),
  ];
  const body = `{${parts.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
  return parsed(await request(`admin/v1/${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body }));
}

// whyNotJSON says what is wrong with a text that has to be one JSON value, or nothing if it is one.
export function whyNotJSON(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return `This is not JSON: ${error.message}.`;
  }
}

// Asking the server: requests, the key, errors in words, and the same request for curl.

const KEY = "albert-key";

/// What the server, or the way to it, had against a request.
export class Refusal extends Error {
  constructor(message, { status = 0, code = "", param = null } = {}) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}

/// sessionStorage is closed in some private windows; the key then lives as long as the page.
let kept = "";
export const key = {
  get: () => {
    try {
      return sessionStorage.getItem(KEY) ?? kept;
    } catch {
      return kept;
    }
  },
  set: (text) => {
    kept = text;
    try {
      if (text) sessionStorage.setItem(KEY, text);
      else sessionStorage.removeItem(KEY);
    } catch { /* as above */ }
  },
};

/// Asks the user for a key: set by the shell of the page; true if there is a new one.
export const door = { ask: async () => false };

/// The JSON of an answer, and how long it took to come. A body makes it a POST. Routes are relative
/// to the page, so that it works behind a proxy under any path.
export async function call(route, body, { signal, asking = true } = {}) {
  const began = performance.now();
  const headers = {};
  if (body) headers["content-type"] = "application/json";
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  let response;
  let text;
  try {
    response = await fetch(route, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "same-origin",
    });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer. Is it still running?");
  }
  const seconds = (performance.now() - began) / 1000;
  if (response.status === 401 && asking && (await door.ask(Boolean(key.get())))) {
    return call(route, body, { signal, asking });
  }
  let answer = null;
  try {
    answer = JSON.parse(text);
  } catch { /* a proxy in between may answer in HTML */ }
  if (!response.ok) throw refusal(response, answer);
  if (answer === null) throw new Refusal("The answer is not JSON: does something else answer for the server?");
  return { answer, seconds };
}

function refusal(response, answer) {
  const { message, code, param } = answer?.error ?? {};
  let words = message || `The server answered ${response.status} ${response.statusText}`.trim() + ".";
  const wait = response.headers.get("retry-after");
  if (wait && /^\d+$/.test(wait)) words += ` Try again in ${wait} s.`;
  return new Refusal(words, { status: response.status, code, param });
}

/// In single quotes for a POSIX shell, where only the quote itself is special.
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/// The same request as a command. The key itself is not written down: it would be copied about.
export function curl(route, body) {
  const parts = [`curl ${new URL(route, document.baseURI)}`];
  if (key.get()) parts.push('-H "authorization: Bearer $ALBERT_API_KEY"');
  if (body) {
    parts.push("-H 'content-type: application/json'");
    parts.push(`-d ${quoted(JSON.stringify(body))}`);
  }
  return parts.join(" \\\n  ");
}

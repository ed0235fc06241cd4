// Questions and orders to the API.

const BASE = "/api/v1";
const PATIENCE = 10_000; // ms

/** An answer that is an error, by RFC 9457; status 0 is no answer at all. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const NOBODY = { name: "", scope: "read", via: "", csrf: null };
export const session = { ...NOBODY };
const RANKS = ["read", "operate", "admin"];

/** Whether who is logged in may give orders of `scope`. */
export const may = (scope) => RANKS.indexOf(session.scope) >= RANKS.indexOf(scope);

/** Told when the API wants to know who asks. */
export const unknown = new EventTarget();

async function ask(method, path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (method !== "GET" && session.csrf) headers["X-CSRF-Token"] = session.csrf;
  let answer;
  let told = null;
  try {
    answer = await fetch(BASE + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      signal: AbortSignal.timeout(PATIENCE),
    });
    const text = await answer.text();
    told = text ? JSON.parse(text) : null;
  } catch (error) {
    // No answer, half of one, or one that is not ours: a proxy's page.
    throw new Problem(answer && !answer.ok ? answer.status : 0, answer?.statusText || error.message);
  }
  if (answer.ok) return told;
  if (answer.status === 401 && path !== "/session") unknown.dispatchEvent(new Event("unknown"));
  throw new Problem(answer.status, told?.detail ?? answer.statusText);
}

/** Ask; `query` may hold lists, and what is null is left out. */
export function get(path, query = {}) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of [value].flat()) {
      if (each !== null && each !== undefined) asked.append(name, each);
    }
  }
  return ask("GET", asked.size ? `${path}?${asked}` : path);
}

/** Give an order. */
export const post = (path, body) => ask("POST", path, body);

/** Take something back. */
export const erase = (path) => ask("DELETE", path);

/** Learn who asks. Raises Problem 401 where nobody is let in without a key. */
export async function whoAmI() {
  Object.assign(session, NOBODY);
  Object.assign(session, await get("/session"));
}

export async function login(key) {
  Object.assign(session, await post("/session", { key }));
}

export async function logout() {
  await erase("/session");
}

// The HTTP API as one signed-in user: what it answers, and what a browser can tell of a refusal.

const LIMIT_MS = 35_000;
// A refusal without CORS headers may be a token's that was revoked: renewing it may help.
const RENEWED_MS = 60_000;
const SHOWN = 400;

// A refusal: `code` is a row of errors.js, `retryAfterS` what the server asked to wait.
export class Problem extends Error {
  constructor(code, { status = 0, message = "", details = {}, retryAfterS = null } = {}) {
    super(message);
    Object.assign(this, { code, status, details, retryAfterS });
  }
}

// The server's time in ms: what it said last, and what has passed since by a steady clock.
export class ServerClock {
  #ahead = null;

  see(ms) {
    if (Number.isFinite(ms)) this.#ahead = ms - performance.now();
  }

  now() {
    return this.#ahead === null ? null : this.#ahead + performance.now();
  }
}

const clipped = (value) => {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
};

async function problemOf(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // A proxy's page, or nothing: the status has to do.
  }
  const told = body && typeof body === "object" && !Array.isArray(body) ? body : {};
  const { error, message, ...rest } = told;
  const details = Object.fromEntries(Object.entries(rest).map(([key, it]) => [key, clipped(it)]));
  const wait = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return new Problem(typeof error === "string" ? error : "unknown", {
    status: response.status,
    message: clipped(message ?? ""),
    details,
    retryAfterS: wait >= 0 ? wait : null,
  });
}

function signedOut({ code = "session_over", message }) {
  throw new Problem(code, { message });
}

// Calls the API; each call raises Problem, or the signal's reason when it was aborted.
export class Api {
  #session;
  #fetch;
  #clock;
  #online;
  #renewedAt = -Infinity;

  constructor(config, session, { fetch, clock = new ServerClock(), online } = {}) {
    this.url = config.apiUrl.replace(/\/+$/, "");
    this.#session = session;
    this.#fetch = fetch ?? globalThis.fetch.bind(globalThis);
    this.#clock = clock;
    this.#online = online ?? (() => globalThis.navigator?.onLine !== false);
  }

  // Posts a body once, however often it is sent with this key.
  infer(body, key, signal) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
    return this.#call("/infer", { method: "POST", body: JSON.stringify(body), headers, signal });
  }

  // The reply so far; null while there is none.
  async reply(id, signal) {
    try {
      return await this.#call(`/infer/${encodeURIComponent(id)}`, { signal });
    } catch (problem) {
      if (problem.code === "not_found" && problem.status === 404) return null;
      throw problem;
    }
  }

  cancel(id) {
    return this.#call(`/infer/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  stop() {
    return this.#call("/stop", { method: "POST" });
  }

  status(signal) {
    return this.#call("/status", { signal });
  }

  async #call(path, options, again = true) {
    const token = await this.#session.token().catch(signedOut);
    const limit = AbortSignal.timeout(LIMIT_MS);
    const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
    const headers = { Accept: "application/json", ...options.headers, Authorization: token };
    let response;
    try {
      const asked = { ...options, headers, signal, cache: "no-store", credentials: "omit" };
      response = await this.#fetch(this.url + path, asked);
      this.#clock.see(Date.parse(response.headers.get("Date") ?? ""));
      if (response.ok) return await response.json();
    } catch (error) {
      options.signal?.throwIfAborted();
      return this.#wordless(error, path, options, again);
    }
    if (again && [401, 403].includes(response.status)) return this.#renewed(path, options);
    throw await problemOf(response);
  }

  async #renewed(path, options) {
    this.#renewedAt = performance.now();
    await this.#session.renew().catch(signedOut);
    return this.#call(path, options, false);
  }

  // API Gateway's own refusals have no CORS headers: a TypeError, as of a network that is down. The
  // token's expiry, the network's state and a request without CORS tell them apart.
  async #wordless(error, path, options, again) {
    if (error.name === "TimeoutError") throw new Problem("timeout");
    if (error instanceof SyntaxError) throw new Problem("unknown", { message: "It was no JSON." });
    if (!this.#online()) throw new Problem("offline");
    if (!(await this.#reachable())) throw new Problem("unreachable", { message: this.url });
    const stale = performance.now() - this.#renewedAt > RENEWED_MS;
    if (again && (this.#session.expired || stale)) return this.#renewed(path, options);
    throw new Problem("wordless");
  }

  async #reachable() {
    try {
      const signal = AbortSignal.timeout(LIMIT_MS);
      await this.#fetch(`${this.url}/status`, { mode: "no-cors", credentials: "omit", signal });
      return true;
    } catch {
      return false;
    }
  }
}

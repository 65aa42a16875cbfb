// What the stack does and what it costs: read by one tab for all of them, shown by each.

import { backoff } from "./judge.js";
import { duration, explain, moment } from "./errors.js";
import { nodeNow } from "./eta.js";
import { euros, make, pair } from "./view.js";

const BUSY_MS = 2_500;
const IDLE_MS = 15_000;
// For how long somebody's wish for fresh figures is heeded.
const HURRY_MS = 6_000;
const STALE_MS = 60_000;

// Resolves after `ms`, or when the tab is looked at again or the network is back; rejects when the
// signal ends it.
export function rest(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, ms);
    const seen = () => document.visibilityState === "visible" && done();
    function done() {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
      window.removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      if (signal.aborted) reject(signal.reason);
      else resolve();
    }
    document.addEventListener("visibilitychange", seen);
    window.addEventListener("online", done);
    signal.addEventListener("abort", done);
  });
}

// GET /status every few seconds while a tab is visible. The tab that holds the lock asks, and tells
// the others. `heard(status)` and `troubled(problem)` hear what came of it.
export class StatusFeed {
  #api;
  #name;
  #ports;
  #channel = null;
  #leading = null;
  #hurriedAt = -Infinity;
  #toldAt = -Infinity;
  #wake = () => {};
  #seen = () => this.#heed();

  constructor(api, name, ports) {
    this.#api = api;
    this.#name = name;
    this.#ports = ports;
  }

  start() {
    if (globalThis.BroadcastChannel) {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.addEventListener("message", ({ data }) => {
        if (data.status) this.#ports.heard(data.status);
        if (data.hurry) this.#hurry();
      });
    }
    document.addEventListener("visibilitychange", this.#seen);
    this.#heed();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.#seen);
    this.#leading?.abort();
    this.#leading = null;
    this.#channel?.close();
    this.#channel = null;
  }

  // Asks for fresh figures for some seconds; `now`, for the next ones at once.
  hurry({ now = false } = {}) {
    const idle = performance.now() - this.#hurriedAt > HURRY_MS;
    this.#hurry(now || idle);
    if (performance.now() - this.#toldAt < BUSY_MS && !now) return;
    this.#toldAt = performance.now();
    this.#channel?.postMessage({ hurry: true });
  }

  #hurry(now = false) {
    const idle = performance.now() - this.#hurriedAt > HURRY_MS;
    this.#hurriedAt = performance.now();
    if (now || idle) this.#wake();
  }

  #heed() {
    if (document.visibilityState !== "visible") {
      this.#leading?.abort();
      this.#leading = null;
    } else if (!this.#leading) {
      this.#leading = new AbortController();
      this.#lead(this.#leading.signal);
    }
  }

  async #lead(signal) {
    const ask = () => this.#ask(signal);
    try {
      await navigator.locks.request(this.#name, { signal }, ask);
    } catch {
      // No locks here: each tab asks for itself.
      await ask();
    }
  }

  async #ask(signal) {
    let failures = 0;
    while (!signal.aborted) {
      let waitMs = performance.now() - this.#hurriedAt < HURRY_MS ? BUSY_MS : IDLE_MS;
      try {
        const status = await this.#api.status(signal);
        failures = 0;
        this.#ports.heard(status);
        this.#channel?.postMessage({ status });
      } catch (problem) {
        if (signal.aborted) return;
        this.#ports.troubled(problem);
        if (explain(problem).signIn) return;
        failures += 1;
        waitMs = Math.max(waitMs, backoff(failures, problem.retryAfterS));
      }
      await this.#rest(waitMs, signal);
    }
  }

  #rest(ms, signal) {
    const nap = new AbortController();
    this.#wake = () => nap.abort();
    return rest(ms, AbortSignal.any([signal, nap.signal])).catch(() => {});
  }
}

const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

function laneNow(lane) {
  if (lane.failure) return "cannot answer";
  const words = { off: "is not running", loading: "loads", working: "is at work" };
  return words[lane.phase] ?? String(lane.phase);
}

export function warnings(status) {
  const said = [];
  const { latch, money, nodes_broken: broken, start_failure: failure, lane } = status;
  if (latch) {
    const until = latch.until ? ` until ${moment(latch.until)}` : "";
    said.push(`The budget is spent: nothing is started${until}. ${latch.reason ?? ""}`);
  } else if (money?.degree && money.degree !== "open") {
    const what = money.degree === "no_starts" ? "No node is started any more" : "Money ends";
    said.push(`${what}: ${money.why ?? "the budget is nearly spent"}.`);
  }
  if (broken) {
    const until = broken.until ? ` Next try: ${moment(broken.until)}.` : "";
    const why = broken.why ?? "nobody knows why";
    said.push(`The last ${broken.failed ?? "few"} boots failed: ${why}.${until}`);
  } else if (failure) {
    said.push(`The last start of a node failed: ${failure.message ?? failure.code ?? "unknown"}.`);
  }
  if (lane?.failure) {
    said.push(`The instant lane fails: ${lane.failure.message ?? lane.failure.code ?? "unknown"}.`);
  }
  return said.map((text) => text.replace(/\.\.+\s*$/, ".").trim());
}

// [name, text] of the stack's state.
export function facts(status) {
  const hours = number(status.gpu_hours_left);
  const nodes = Array.isArray(status.nodes) ? status.nodes.length : 0;
  const rows = [
    ["GPU-hours left", hours === null ? "not counted yet" : hours.toFixed(1)],
    ["Node", `${nodeNow(status.node).replace(/^is /, "")}${nodes > 1 ? ` (${nodes} nodes)` : ""}`],
    ["Queue depth", String(status.queue_depth ?? "unknown")],
  ];
  if (status.lane) rows.push(["Instant lane", laneNow(status.lane).replace(/^is /, "")]);
  if (number(status.lane?.eur)) rows.push(["Instant lane's cost", euros(status.lane.eur)]);
  const projected = number(status.money?.projected_eur);
  if (projected !== null) rows.push(["Month's end, projected", euros(projected)]);
  const boot = number(status.estimate);
  if (boot !== null) rows.push(["9 of 10 boots within", duration(boot)]);
  return rows;
}

export class Panel {
  #root;
  #heardAt = null;

  constructor(root) {
    this.#root = root;
    this.old = make("p", "hint", "Waiting for the stack's state…");
    root.replaceChildren(make("h2", "", "Spend"), this.old);
  }

  show(status) {
    this.#heardAt = performance.now();
    this.old.textContent = "";
    const spent = number(status.spend_eur);
    const cap = number(status.cap_eur);
    const money = make("p", "money", [
      make("strong", "", spent === null ? "not counted yet" : euros(spent)),
      cap === null ? "" : ` of ${euros(cap)} this month`,
    ]);
    const parts = [make("h2", "", "Spend"), money];
    if (spent !== null && cap > 0) parts.push(this.#meter(spent, cap));
    parts.push(make("dl", "facts", facts(status).map(pair)));
    for (const text of warnings(status)) parts.push(make("p", "warning", text));
    this.#root.replaceChildren(...parts, this.old);
  }

  #meter(spent, cap) {
    const share = Math.min(1, spent / cap);
    const attributes = { "aria-label": "Share of the cap that is spent", max: "1", high: "0.75" };
    const meter = make("meter", "", `${Math.round(share * 100)} %`, attributes);
    meter.setAttribute("value", share.toFixed(4));
    return meter;
  }

  trouble(problem) {
    this.old.textContent = explain(problem).says;
  }

  age() {
    const ms = this.#heardAt === null ? 0 : performance.now() - this.#heardAt;
    if (ms > STALE_MS) this.old.textContent = `These figures are ${duration(ms / 1000)} old.`;
  }
}

export function sure({ title, text, yes, no }) {
  const dialog = document.getElementById("sure");
  const words = { "sure-title": title, "sure-text": text, "sure-yes": yes, "sure-no": no };
  for (const [id, word] of Object.entries(words)) document.getElementById(id).textContent = word;
  dialog.returnValue = "no";
  dialog.showModal();
  document.getElementById("sure-no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

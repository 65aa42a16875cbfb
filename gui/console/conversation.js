// What is posted, the question with as much of the conversation as fits, and what becomes of it.

import { Problem } from "./api.js";
import { explain } from "./errors.js";
import { follow } from "./judge.js";

export const MAX_BYTES = 6_000;
const MAX_MESSAGES = 100;
const encoder = new TextEncoder();

export const bytes = (text) => encoder.encode(text).length;

// A text that can be sent: half a surrogate pair is no character, and no JSON parser's friend.
export const wellFormed = (text) => new TextDecoder().decode(encoder.encode(text));

export const isBlank = (text) => !/[^ \t\r\n]/.test(text);

export const isTurn = (entry) => entry.status === "done" && !isBlank(entry.reply?.text ?? "");

// {body, dropped}: the body of POST /infer without its options, and how many earlier turns did not
// fit. `earlier` are entries in their order; the oldest are left out first.
export function compose(earlier, question) {
  const turns = earlier.filter(isTurn);
  let left = MAX_BYTES - bytes(question);
  let room = Math.floor((MAX_MESSAGES - 1) / 2);
  const kept = [];
  for (const { question: asked, reply } of turns.toReversed()) {
    left -= bytes(asked) + bytes(reply.text);
    room -= 1;
    if (left < 0 || room < 0) break;
    kept.unshift({ role: "user", content: asked }, { role: "assistant", content: reply.text });
  }
  const messages = [...kept, { role: "user", content: question }];
  return { body: { messages }, dropped: turns.length - kept.length / 2 };
}

// What is wrong with a question before it is sent; null when nothing is.
export function wrong(question) {
  if (isBlank(question)) return "Write something first.";
  const size = bytes(question);
  if (size <= MAX_BYTES) return null;
  return `The question has ${size.toLocaleString("en")} bytes, ` +
    `${(size - MAX_BYTES).toLocaleString("en")} too many: shorten it.`;
}

export function idleMinutes(text) {
  if (text.trim() === "") return null;
  const minutes = Number(text);
  return Number.isInteger(minutes) && minutes >= 1 && minutes <= 30 ? minutes : NaN;
}

// The API knows an Idempotency-Key for five minutes.
const SENT_AGAIN_MS = 240_000;
const LEFT = "left";
const WITHDRAWN = "withdrawn";
// After these nobody here knows whether it was taken.
const DOUBTFUL = [
  "timeout", "unreachable", "wordless", "offline", "unknown", "unavailable", "internal",
];

export const isUnfinished = (entry) => ["sending", "accepted"].includes(entry.status);

// Sends entries and follows their answers, each once. `ports`: api, serverMs(), now() in ms,
// rest(ms, signal), hidden(), keep(entry) to store it, changed(entry) when it looks otherwise,
// complain(problem).
export class Answers {
  #ports;
  #runs = new Map(); // entry's id → {abort, retry, cancelled, trouble, since}

  constructor(ports) {
    this.#ports = ports;
  }

  // What is known of an entry's run: `retry` {at, says}, `trouble`, `cancelled`; or undefined.
  run(entry) {
    return this.#runs.get(entry.id);
  }

  // Ends every run, and leaves the entries as they are: somebody may take them up again.
  leave() {
    for (const { abort } of this.#runs.values()) abort.abort(LEFT);
  }

  // How it ended: `ended`, `withdrawn`, `left`, or `refused` with the error. An entry that runs
  // already is not followed twice: null.
  async follow(entry) {
    if (this.#runs.has(entry.id)) return null;
    const run = { abort: new AbortController(), back: new AbortController(), retry: null };
    Object.assign(run, { cancelled: false, trouble: "" });
    this.#runs.set(entry.id, run);
    try {
      if (!entry.job) await this.#post(entry, run);
      const reply = await this.#read(entry, run);
      Object.assign(entry, { reply, status: reply.status });
      this.#ports.keep(entry);
      return { how: "ended" };
    } catch (error) {
      return this.#failed(entry, error);
    } finally {
      this.#runs.delete(entry.id);
    }
  }

  // Takes back what is not accepted yet, and cancels what is. Raises Problem.
  async cancel(entry) {
    const run = this.#runs.get(entry.id);
    if (!run) return;
    run.cancelled = true;
    if (!entry.job) return run.back.abort();
    try {
      await this.#ports.api.cancel(entry.job.id);
    } catch (problem) {
      run.cancelled = false;
      throw problem;
    }
  }

  #failed(entry, error) {
    if (error === LEFT) return { how: "left" };
    if (error === WITHDRAWN) {
      entry.status = "withdrawn";
    } else if (!entry.job && !explain(error).signIn) {
      const { says, todo } = explain(error);
      Object.assign(entry, { status: "refused", error: `${says} ${todo}` });
    }
    this.#ports.keep(entry);
    return error === WITHDRAWN ? { how: "withdrawn" } : { how: "refused", error };
  }

  async #post(entry, run) {
    const { signal } = run.abort;
    const nap = AbortSignal.any([signal, run.back.signal]);
    for (let tries = 0; !entry.job; tries += 1) {
      const old = Date.now() - entry.asked > SENT_AGAIN_MS;
      if (old && entry.doubtful) throw new Problem("doubtful");
      if (old && !tries) throw new Problem("not_sent");
      const last = run.cancelled;
      const online = globalThis.navigator?.onLine !== false;
      try {
        const accepted = await this.#ports.api.infer(entry.body, entry.key, signal);
        if (typeof accepted?.id !== "string") throw new Problem("unknown");
        // A clock that calls a new job expired is not the server's.
        const trusted = !(this.#ports.serverMs() > accepted.expires_at);
        entry.job = { ...accepted, at: Date.now(), trusted };
      } catch (problem) {
        signal.throwIfAborted();
        entry.doubtful ||= online && DOUBTFUL.includes(problem.code);
        if (last) throw new Problem("doubtful");
        if (run.cancelled && !entry.doubtful) throw WITHDRAWN;
        const { says, waitS, tries: most } = explain(problem);
        if (tries >= most && !run.cancelled) throw problem;
        this.#ports.keep(entry);
        run.retry = { at: this.#ports.now() + waitS * 1000, says };
        this.#ports.changed(entry);
        // A rest ends when somebody looks; the server's wait does not.
        for (let left = 1; left > 0 && !run.cancelled; left = run.retry.at - this.#ports.now()) {
          await this.#ports.rest(run.retry.at - this.#ports.now(), nap).catch(() => {});
          signal.throwIfAborted();
        }
        run.retry = null;
        // Its key tells what became of it.
        if (run.cancelled && !entry.doubtful) throw WITHDRAWN;
      }
    }
    delete entry.body;
    entry.status = "accepted";
    this.#ports.keep(entry);
    this.#ports.changed(entry);
    if (run.cancelled) await this.cancel(entry).catch(this.#ports.complain);
  }

  #read(entry, run) {
    const { api, now, rest, hidden, keep, changed } = this.#ports;
    const { signal } = run.abort;
    run.since = now() - Math.max(0, Date.now() - entry.job.at);
    return follow(entry.job, {
      read: (id) => api.reply(id, signal),
      sleep: (ms) => rest(ms, signal),
      changed: (reply) => {
        entry.reply = reply;
        keep(entry);
        changed(entry);
      },
      troubled: (problem) => {
        run.trouble = problem ? explain(problem).says : "";
        changed(entry);
      },
      serverMs: () => (entry.job.trusted ? this.#ports.serverMs() : null),
      now, hidden, signal,
    });
  }
}

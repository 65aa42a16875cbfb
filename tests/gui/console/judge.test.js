import assert from "node:assert/strict";
import test from "node:test";

import { backoff, follow, growth, judge, pause } from "../../../gui/console/judge.js";

const NOW = 1_800_000_000_000;
const JOB = { id: "id", expires_at: NOW + 300_000 };
const running = (sequence, text = "", updated = NOW) => ({
  id: "id", status: "running", sequence, text, updated_at: updated,
});
const known = (more = {}) => ({ serverMs: NOW, unchangedMs: 0, ...more });

test("no reply is no news until the job has expired by the server's clock", () => {
  assert.equal(judge(JOB, null, known()), null);
  assert.equal(judge(JOB, null, known({ serverMs: NOW + 304_000 })), null);
  assert.equal(judge(JOB, null, known({ serverMs: NOW + 306_000 })).status, "expired");
});

test("who does not know the server's clock waits longer than any job", () => {
  assert.equal(judge(JOB, null, { serverMs: null, unchangedMs: 599_000 }), null);
  assert.equal(judge(JOB, null, { serverMs: null, unchangedMs: 601_000 }).status, "expired");
  assert.equal(judge({ id: "id" }, null, known({ unchangedMs: 601_000 })).status, "expired");
});

test("a running reply that falls silent has expired, and keeps its text", () => {
  const quiet = judge(JOB, running(3, "so far"), known({ unchangedMs: 121_000 }));
  assert.deepEqual([quiet.status, quiet.text], ["expired", "so far"]);
  // Also one that was silent before the page was opened.
  assert.equal(judge(JOB, running(3, "", NOW - 121_000), known()).status, "expired");
  assert.equal(judge(JOB, running(3, "", NOW - 119_000), known()).status, "running");
  assert.equal(judge(JOB, { ...running(3), updated_at: "x" }, known()).status, "running");
});

test("a final reply stands, however old", () => {
  const done = { ...running(9, "all"), status: "done", updated_at: 0 };
  assert.equal(judge(JOB, done, known({ unchangedMs: 1e9 })), done);
});

test("it looks often while text flows, seldom while it waits or nobody looks", () => {
  const flowing = pause(running(1), { unchangedMs: 100, hidden: false });
  const waking = pause(null, { unchangedMs: 60_000, hidden: false });
  assert.ok(flowing < waking && waking < pause(running(1), { unchangedMs: 0, hidden: true }));
});

test("failures are waited out, as long as the server says and never for ever", () => {
  assert.ok(backoff(1) < backoff(3));
  assert.equal(backoff(50), 30_000);
  assert.equal(backoff(1, 7), 7_000);
  assert.equal(backoff(1, 3600), 30_000);
});

test("an answer that begins again is shown from its beginning", () => {
  assert.deepEqual(growth("One ", "One two"), { again: false, rest: "two" });
  assert.deepEqual(growth("One two", "One"), { again: true, rest: "One" });
  assert.deepEqual(growth("", "x"), { again: false, rest: "x" });
});

/** Follows a script of replies (or errors) in a time of its own. */
async function run(script, { job = JOB, signal = new AbortController().signal, each } = {}) {
  let nowMs = 0;
  const seen = [];
  const troubles = [];
  const slept = [];
  const reply = await follow(job, {
    read: async () => {
      each?.();
      const next = script.length > 1 ? script.shift() : script[0];
      if (next instanceof Error) throw next;
      return next;
    },
    serverMs: () => NOW + nowMs,
    now: () => nowMs,
    sleep: async (ms) => {
      slept.push(ms);
      nowMs += ms;
    },
    hidden: () => false,
    changed: (told) => seen.push(told.text),
    troubled: (problem) => troubles.push(problem?.code ?? null),
    signal,
  });
  return { reply, seen, troubles, slept };
}

const fault = (code, more = {}) => Object.assign(new Error(code), { code, ...more });

test("each change is told once, and the end ends it", async () => {
  const done = { ...running(3, "ab"), status: "done" };
  const { reply, seen } = await run([null, running(1, "a"), running(1, "a"), running(2, "ab"), done]);
  assert.deepEqual(reply, done);
  assert.deepEqual(seen, ["a", "ab", "ab"]);
});

test("a failure says nothing about the job: it is told, waited out and forgotten", async () => {
  const done = { ...running(3, "ab"), status: "done" };
  const script = [fault("storage_unavailable", { retryAfterS: 3 }), fault("offline"), done];
  const { reply, troubles, slept } = await run(script);
  assert.equal(reply.status, "done");
  assert.deepEqual(troubles, ["storage_unavailable", "offline", null]);
  assert.equal(slept[0], 3_000);
});

test("a sign-in that is over ends it, and the job goes on without", async () => {
  await assert.rejects(run([fault("session_over")]), { code: "session_over" });
});

test("a job that nobody takes ends, though the server says 404 for ever", async () => {
  const { reply, slept } = await run([null]);
  assert.deepEqual([reply.status, reply.reason], ["expired", "unclaimed"]);
  assert.ok(slept.length < 400, `${slept.length} requests in five minutes`);
});

test("a worker that falls silent ends it", async () => {
  const { reply, seen } = await run([running(1, "a")]);
  assert.deepEqual([reply.status, reply.text], ["expired", "a"]);
  assert.equal(seen.length, 2);
});

test("whoever gives up hears why", async () => {
  const abort = new AbortController();
  const left = run([null], { signal: abort.signal, each: () => abort.abort("left") });
  await assert.rejects(left, (reason) => reason === "left");
});

test("what is no reply is no news", async () => {
  const done = { ...running(3, "ab"), status: "done" };
  const { seen } = await run(["<html>", [], { status: 7 }, { ...done, text: 5 }]);
  assert.deepEqual(seen, [""]);
});

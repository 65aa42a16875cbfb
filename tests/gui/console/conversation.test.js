import assert from "node:assert/strict";
import test from "node:test";

import { Problem } from "../../../gui/console/api.js";
import {
  Answers, MAX_BYTES, bytes, compose, idleMinutes, isBlank, wellFormed, wrong,
} from "../../../gui/console/conversation.js";

const turn = (question, text, status = "done") => ({ question, status, reply: { text } });
const contents = (body) => body.messages.map(({ content }) => content);

test("a question goes with the conversation before it", () => {
  const { body, dropped } = compose([turn("a", "b"), turn("c", "d")], "e");
  assert.deepEqual(contents(body), ["a", "b", "c", "d", "e"]);
  assert.deepEqual(body.messages.map(({ role }) => role).join(), "user,assistant,user,assistant,user");
  assert.equal(dropped, 0);
});

test("the oldest turns are left out until all of it fits, by bytes", () => {
  const half = "é".repeat(MAX_BYTES / 8);
  const { body, dropped } = compose([turn(half, half), turn("old", half), turn("new", "x")], half);
  assert.deepEqual(contents(body), ["old", half, "new", "x", half]);
  assert.equal(dropped, 1);
  assert.ok(contents(body).reduce((sum, text) => sum + bytes(text), 0) <= MAX_BYTES);
});

test("a turn that is left out takes all before it with it", () => {
  const { body, dropped } = compose([turn("a", "b"), turn("c", "d".repeat(6000)), turn("e", "f")], "g");
  assert.deepEqual(contents(body), ["e", "f", "g"]);
  assert.equal(dropped, 2);
});

test("a question as long as may be goes alone", () => {
  const { body, dropped } = compose([turn("a", "b")], "x".repeat(MAX_BYTES));
  assert.deepEqual([body.messages.length, dropped], [1, 1]);
});

test("never more messages than the API takes", () => {
  const { body, dropped } = compose(Array.from({ length: 80 }, () => turn("a", "b")), "c");
  assert.equal(body.messages.length, 99);
  assert.equal(dropped, 31);
});

test("what was not answered is no turn", () => {
  const earlier = [
    turn("a", "b", "cancelled"), turn("c", " \n"), { question: "d", status: "refused" },
  ];
  assert.deepEqual(contents(compose(earlier, "e").body), ["e"]);
});

test("half a surrogate pair is replaced before it is sent", () => {
  assert.equal(wellFormed("a\ud83d"), "a\ufffd");
  assert.equal(wellFormed("🙂"), "🙂");
});

test("what the API would refuse is told before", () => {
  assert.ok(isBlank(" \n\t\r") && !isBlank("\u00a0"));
  assert.match(wrong("  "), /Write something/);
  assert.equal(wrong("x".repeat(6000)), null);
  assert.match(wrong("é".repeat(3001)), /6,002 bytes, 2 too many/);
});

test("idle minutes are whole, from 1 to 30, or left out", () => {
  assert.equal(idleMinutes(" 7 "), 7);
  assert.equal(idleMinutes(""), null);
  for (const text of ["0", "31", "1.5", "x", "-1", "1e9"]) assert.ok(Number.isNaN(idleMinutes(text)));
});

/** Answers over an API by script: a list of what POST says; then the reply. */
function answering(posts, reply = { status: "done", text: "hi" }) {
  const said = { complaints: [], posts: [], cancelled: [], kept: [], slept: [], now: 0, naps: 1, serverMs: 0 };
  const api = {
    infer: async (body, key, signal) => {
      said.posts.push(key);
      const next = posts.shift();
      await Promise.resolve();
      signal.throwIfAborted();
      if (next instanceof Error) throw next;
      return next ?? { id: "job", status: "queued", expires_at: 1 };
    },
    reply: async () => reply,
    cancel: async (id) => {
      said.cancelled.push(id);
      if (said.cancelFails) throw new Problem("storage_unavailable");
    },
  };
  const ports = {
    api,
    serverMs: () => said.serverMs,
    now: () => said.now,
    rest: async (ms, signal) => {
      said.slept.push(ms);
      said.now += Math.max(ms / said.naps, Math.min(ms, 1_000));
      await Promise.resolve();
      if (signal.aborted) throw signal.reason;
    },
    hidden: () => false,
    keep: (entry) => said.kept.push(entry.status),
    changed: (entry) => said.onChange?.(entry),
    complain: (problem) => said.complaints.push(problem.code),
  };
  const answers = new Answers(ports);
  const entry = { id: "e", key: "k", body: {}, asked: Date.now(), status: "sending" };
  return { answers, entry, said };
}

test("an entry is asked, followed and kept at every step", async () => {
  const { answers, entry, said } = answering([]);
  assert.deepEqual(await answers.follow(entry), { how: "ended" });
  assert.deepEqual([entry.status, entry.reply.text, entry.body], ["done", "hi", undefined]);
  assert.equal(said.kept[0], "accepted");
  assert.equal(answers.run(entry), undefined);
});

test("there are never two loops for one entry", async () => {
  const { answers, entry, said } = answering([]);
  const first = answers.follow(entry);
  assert.equal(await answers.follow(entry), null);
  await first;
  assert.equal(said.posts.length, 1);
});

test("a 429 is waited out, and the same key makes one job of all", async () => {
  const limited = () => new Problem("rate_limited", { retryAfterS: 9 });
  const { answers, entry, said } = answering([limited(), limited()]);
  await answers.follow(entry);
  assert.deepEqual(said.slept.slice(0, 2), [9_000, 9_000]);
  assert.deepEqual(said.posts, ["k", "k", "k"]);
  assert.equal(entry.status, "done");
});

test("a tab that is looked at again does not send before the server's time", async () => {
  const { answers, entry, said } = answering([new Problem("rate_limited", { retryAfterS: 9 })]);
  said.naps = 2;
  await answers.follow(entry);
  assert.ok(said.slept.length > 2 && said.now >= 8_999, `${said.slept}`);
});

test("a wait can be ended, and nothing is asked", async () => {
  const { answers, entry, said } = answering([new Problem("rate_limited", { retryAfterS: 9 })]);
  said.onChange = () => answers.run(entry)?.retry && answers.cancel(entry);
  assert.deepEqual(await answers.follow(entry), { how: "withdrawn" });
  assert.deepEqual([entry.status, said.posts.length, said.cancelled.length], ["withdrawn", 1, 0]);
});

test("what is cancelled in flight is cancelled when its id is known", async () => {
  const { answers, entry, said } = answering([], { status: "cancelled", text: "" });
  const following = answers.follow(entry);
  await answers.cancel(entry);
  await following;
  assert.deepEqual(said.cancelled, ["job"]);
  assert.equal(entry.status, "cancelled");
});

test("what is refused for good says so, and stays", async () => {
  const spent = new Problem("budget_exhausted", { details: { until: "2026-12-01T00:00:00Z" } });
  const { answers, entry } = answering([spent]);
  assert.deepEqual(await answers.follow(entry), { how: "refused", error: spent });
  assert.equal(entry.status, "refused");
  assert.match(entry.error, /budget.*1 Dec 2026/);
});

test("a fault that stays is not tried for ever", async () => {
  const down = Array.from({ length: 50 }, () => new Problem("queue_unavailable", { retryAfterS: 2 }));
  const { answers, entry, said } = answering(down);
  assert.equal((await answers.follow(entry)).how, "refused");
  assert.equal(said.posts.length, 6);
});

test("a sign-in that is over leaves the entry to be sent after the next one", async () => {
  const { answers, entry } = answering([new Problem("session_over")]);
  assert.equal((await answers.follow(entry)).how, "refused");
  assert.deepEqual([entry.status, Boolean(entry.body)], ["sending", true]);
});

test("a clock that calls a new job expired is not believed", async () => {
  const { answers, entry, said } = answering([], null);
  said.serverMs = 9e15;
  await answers.follow(entry);
  assert.ok(said.now > 600_000, `given up after ${said.now} ms`);
});

test("an acceptance without an id is none", async () => {
  const { answers, entry } = answering([{ status: "queued" }]);
  assert.equal((await answers.follow(entry)).error.code, "unknown");
});

test("an old one that was never taken is not sent behind anybody's back", async () => {
  const { answers, entry, said } = answering([]);
  entry.asked -= 300_000;
  const { how, error } = await answers.follow(entry);
  assert.deepEqual([how, error.code, said.posts.length], ["refused", "not_sent", 0]);
});

const cancelAtRetry = ({ answers, entry, said }) => {
  said.onChange = () => answers.run(entry)?.retry && answers.cancel(entry);
};

test("what may have been taken is asked for by its key, and cancelled", async () => {
  const it = answering([new Problem("timeout")], { status: "cancelled", text: "" });
  cancelAtRetry(it);
  assert.deepEqual(await it.answers.follow(it.entry), { how: "ended" });
  assert.deepEqual([it.said.posts, it.said.cancelled], [["k", "k"], ["job"]]);
  assert.equal(it.entry.status, "cancelled");
});

test("a cancel whose own post is lost is asked for once more", async () => {
  const { answers, entry, said } = answering([new Problem("timeout")], { status: "cancelled" });
  const following = answers.follow(entry);
  await answers.cancel(entry);
  await following;
  assert.deepEqual([said.posts, said.cancelled], [["k", "k"], ["job"]]);
});

test("when nobody knows whether it was taken, that is said", async () => {
  const it = answering([new Problem("timeout"), new Problem("unreachable"), new Problem("timeout")]);
  cancelAtRetry(it);
  const { how, error } = await it.answers.follow(it.entry);
  assert.deepEqual([how, error.code, it.said.posts.length], ["refused", "doubtful", 2]);
  assert.match(it.entry.error, /may have been accepted/);
});

test("a cancel that fails is told, and the answer is followed on", async () => {
  const { answers, entry, said } = answering([]);
  said.cancelFails = true;
  const following = answers.follow(entry);
  await answers.cancel(entry);
  assert.equal(answers.run(entry).cancelled, true);
  said.onChange = () => assert.equal(answers.run(entry).cancelled, said.complaints.length === 0);
  await following;
  assert.deepEqual([entry.status, said.complaints], ["done", ["storage_unavailable"]]);
});

test("a known job whose cancel fails is not being cancelled any more", async () => {
  const { answers, entry, said } = answering([]);
  said.cancelFails = true;
  entry.job = { id: "job", at: Date.now() };
  const following = answers.follow(entry);
  await assert.rejects(answers.cancel(entry), { code: "storage_unavailable" });
  assert.notEqual(answers.run(entry)?.cancelled, true);
  await following;
  assert.equal(entry.status, "done");
});

test("a doubtful one is not sent again when its key is forgotten", async () => {
  const { answers, entry, said } = answering(Array.from({ length: 9 }, () => new Problem("offline")));
  said.onChange = () => {
    if (said.posts.length === 3) entry.asked -= 300_000;
  };
  const { error } = await answers.follow(entry);
  assert.deepEqual([error.code, said.posts.length], ["doubtful", 3]);
});

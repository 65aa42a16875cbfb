import assert from "node:assert/strict";
import test from "node:test";

import { Problem } from "../../../gui/console/api.js";
import { ERRORS, duration, ending, explain, moment } from "../../../gui/console/errors.js";

const CODES = JSON.parse(process.env.API_CODES ?? '["invalid_request"]');
const DETAILS = { field: "idle_minutes", until: "2026-12-01T00:00:00Z", since: "2026-11-01T00:00:00Z" };

test("each error of the API has a sentence of its own, and what to do", () => {
  const said = new Map();
  for (const code of CODES) {
    assert.ok(Object.hasOwn(ERRORS, code), `${code} has no row in errors.js`);
    const { says, todo, tries, waitS } = explain(new Problem(code, { message: "m", details: DETAILS }));
    assert.ok(says.length > 10 && todo.length > 5, code);
    assert.ok(!said.has(says), `${code} says what ${said.get(says)} says`);
    said.set(says, code);
    assert.ok(tries >= 0 && waitS >= 1, code);
  }
});

test("every row speaks whatever is missing, in whole sentences", () => {
  for (const code of Object.keys(ERRORS)) {
    for (const problem of [{ code }, new Problem(code, { message: "because so", details: DETAILS })]) {
      const { says, todo } = explain(problem);
      assert.match(says, /[.!?…]$/, code);
      assert.match(todo, /[.!?…]$/, code);
      assert.doesNotMatch(`${says} ${todo}`, /undefined|null|NaN|\[object/, code);
    }
  }
});

test("a 400 names the field", () => {
  const problem = new Problem("invalid_request", {
    message: "messages.2.role is no role", details: { field: "messages.2.role" },
  });
  assert.match(explain(problem).says, /messages\.2\.role/);
});

test("a 402 says when it lifts", () => {
  const problem = new Problem("budget_exhausted", { details: { until: "2026-12-01T00:00:00Z" } });
  assert.match(explain(problem).todo, /1 Dec 2026/);
});

test("a 429 is sent again when the server says, as often as it takes", () => {
  const { tries, waitS } = explain(new Problem("rate_limited", { retryAfterS: 17 }));
  assert.equal(tries, Infinity);
  assert.equal(waitS, 17);
  assert.equal(explain(new Problem("rate_limited", { retryAfterS: 0 })).waitS, 1);
  assert.equal(explain(new Problem("quota_exceeded", { retryAfterS: 3600 })).tries, 0);
});

test("what nobody foresaw is said with what is known", () => {
  const strange = new Problem("__proto__", { status: 418, message: "I am a teapot" });
  assert.match(explain(strange).says, /418.*teapot/);
  assert.ok(explain(new TypeError("x")).says);
});

test("only a sign-in that is over asks for a new one", () => {
  const asking = Object.keys(ERRORS).filter((code) => explain({ code }).signIn);
  assert.deepEqual(asking.sort(), ["forbidden", "session_over", "unauthorized"]);
});

test("an ending says why", () => {
  assert.equal(ending({ status: "done" }), "");
  assert.match(ending({ status: "failed", error: "no room" }), /no room\.$/);
  assert.match(ending({ status: "cancelled", reason: "user" }), /You cancelled/);
  assert.match(ending({ status: "cancelled", reason: "stopped" }), /stopped/);
  assert.match(ending({ status: "expired", reason: "silent" }), /silent/);
  assert.match(ending({ status: "expired", reason: "no node was ready in time" }), /no node was ready/);
});

test("times are words", () => {
  assert.equal(duration(7.2), "8 s");
  assert.equal(duration(-3), "0 s");
  assert.equal(duration(130), "2 min 10 s");
  assert.equal(duration(3700), "1 h 1 min");
  assert.equal(moment("some day"), "some day");
});

import assert from "node:assert/strict";
import test from "node:test";

import { Api, ServerClock } from "../../../gui/console/api.js";

const answer = (status, body, headers = {}) =>
  new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });

/** An API whose fetch is a script, and a session that counts how often it was renewed. */
function calling(script, { expired = false, online = true, reachable = true, renew } = {}) {
  const said = { calls: [], renewed: 0 };
  const session = {
    expired,
    token: async () => `token${said.renewed}`,
    renew: async () => {
      said.renewed += 1;
      renew?.();
    },
  };
  const fetch = async (url, options) => {
    if (options.mode === "no-cors") {
      if (!reachable) throw new TypeError("Failed to fetch");
      return answer(200, "");
    }
    said.calls.push({ url, ...options });
    const next = script.shift();
    if (next instanceof Error) throw next;
    return next;
  };
  const clock = new ServerClock();
  const config = { apiUrl: "https://api.example/v1/" };
  const api = new Api(config, session, { fetch, clock, online: () => online });
  return { api, said, clock };
}
const hidden = () => new TypeError("Failed to fetch");

test("a question is posted as JSON with its key and the token", async () => {
  const { api, said } = calling([answer(202, { id: "j" })]);
  assert.deepEqual(await api.infer({ messages: [] }, "key"), { id: "j" });
  const [{ url, method, headers, body }] = said.calls;
  assert.deepEqual([url, method, body], ["https://api.example/v1/infer", "POST", '{"messages":[]}']);
  assert.deepEqual([headers["Idempotency-Key"], headers.Authorization], ["key", "token0"]);
});

test("no reply yet is null, and no error", async () => {
  const { api } = calling([answer(404, { error: "not_found", message: "" })]);
  assert.equal(await api.reply("id"), null);
});

test("a refusal keeps what the API said", async () => {
  const body = { error: "invalid_request", message: "m", field: "messages.2.role", value: "x" };
  const { api } = calling([answer(400, body)]);
  await assert.rejects(api.infer({}, "k"), (problem) => {
    assert.deepEqual([problem.code, problem.status, problem.message], ["invalid_request", 400, "m"]);
    assert.equal(problem.details.field, "messages.2.role");
    return true;
  });
});

test("Retry-After is heard, and what is no number is not", async () => {
  for (const [sent, heard] of [["7", 7], ["0", 0], ["soon", null], ["-1", null]]) {
    const { api } = calling([answer(429, { error: "rate_limited" }, { "Retry-After": sent })]);
    await assert.rejects(api.status(), { retryAfterS: heard });
  }
});

test("whatever comes back that is not ours is unknown, with its status", async () => {
  for (const body of ["<html>", "[]", "null", '{"error": {"a": 1}, "message": [2]}', "7"]) {
    const { api } = calling([answer(500, body)]);
    await assert.rejects(api.status(), { code: "unknown", status: 500 });
  }
  const { api } = calling([answer(200, "<html>")]);
  await assert.rejects(api.status(), { code: "unknown" });
});

test("a message as long as a book is cut", async () => {
  const { api } = calling([answer(400, { error: "bad_request", message: "x".repeat(1e5) })]);
  await assert.rejects(api.status(), ({ message }) => message.length < 500);
});

test("a 401 or 403 renews the token once", async () => {
  for (const status of [401, 403]) {
    const { api, said } = calling([answer(status, {}), answer(200, { node: "off" })]);
    assert.equal((await api.status()).node, "off");
    assert.deepEqual(said.calls.map(({ headers }) => headers.Authorization), ["token0", "token1"]);
  }
  const { api, said } = calling([answer(403, { error: "forbidden" }), answer(403, { error: "forbidden" })]);
  await assert.rejects(api.status(), { code: "forbidden" });
  assert.equal(said.renewed, 1);
});

test("a refusal that the browser hides: a token that expired is renewed", async () => {
  const { api, said } = calling([hidden(), answer(200, { node: "off" })], { expired: true });
  await api.status();
  assert.equal(said.renewed, 1);
});

test("a renewal that is refused is the end of the sign-in", async () => {
  const renew = () => {
    throw Object.assign(new Error(), { code: "session_over" });
  };
  const { api } = calling([hidden()], { expired: true, renew });
  await assert.rejects(api.status(), { code: "session_over" });
});

test("a good token is renewed once in a while, and not for each refusal without a word", async () => {
  const { api, said } = calling([hidden(), hidden(), hidden()]);
  await assert.rejects(api.status(), { code: "wordless" });
  await assert.rejects(api.status(), { code: "wordless" });
  assert.deepEqual([said.renewed, said.calls.length], [1, 3]);
});

test("no network, no server and no words are three things", async () => {
  await assert.rejects(calling([hidden()], { online: false }).api.status(), { code: "offline" });
  const away = calling([hidden()], { reachable: false }).api.status();
  await assert.rejects(away, { code: "unreachable", message: "https://api.example/v1" });
});

test("who gives up hears the reason given, not a network's", async () => {
  const abort = new AbortController();
  abort.abort("left");
  await assert.rejects(calling([hidden()]).api.reply("id", abort.signal), (why) => why === "left");
});

test("no answer in time is a time-out", async () => {
  const late = new DOMException("signal timed out", "TimeoutError");
  await assert.rejects(calling([late]).api.status(), { code: "timeout" });
});

test("the server's clock is its Date, and runs on", async () => {
  const { api, clock } = calling([
    answer(200, {}, { Date: "Thu, 26 Nov 2026 22:00:00 GMT" }), answer(200, {}),
  ]);
  assert.equal(clock.now(), null);
  await api.status();
  await api.status();
  const off = clock.now() - Date.UTC(2026, 10, 26, 22, 0, 0);
  assert.ok(off >= 0 && off < 5_000, `${off}`);
});

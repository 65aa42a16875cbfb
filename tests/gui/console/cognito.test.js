import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Session, claims } from "../../../gui/console/cognito.js";

const [VECTOR] = JSON.parse(readFileSync(new URL("srp-vectors.json", import.meta.url)));
const CONFIG = { cognitoUrl: "https://idp/", clientId: "client", userPoolId: VECTOR.pool };
const ASKED = {
  ChallengeName: "PASSWORD_VERIFIER", Session: "s1", ChallengeParameters: VECTOR.challenge,
};

const token = (body) => `h.${Buffer.from(JSON.stringify(body)).toString("base64url")}.s`;
const result = (more = {}) => ({
  AuthenticationResult: {
    AccessToken: token({ sub: "ann", iat: 1_800_000_000 }), RefreshToken: "refresh", ExpiresIn: 3600,
    ...more,
  },
});
const refusal = (kind, message = "no") => ({ status: 400, body: { __type: kind, message } });

/** A session before a Cognito by script. */
function session(script, options = {}) {
  const calls = [];
  const fetch = async (url, { headers, body }) => {
    calls.push({ what: headers["X-Amz-Target"].split(".")[1], ...JSON.parse(body) });
    const next = script.shift();
    if (next instanceof Error) throw next;
    return new Response(JSON.stringify(next.body ?? next), { status: next.status ?? 200 });
  };
  return { session: new Session(CONFIG, { fetch, ...options }), calls };
}

test("it signs in by SRP, and never sends the password", async () => {
  let clock = null;
  const { session: it, calls } = session([ASKED, result()], { onClock: (ms) => (clock = ms) });
  assert.equal(await it.signIn("ann@example.com", "Pässwörd-long-1"), false);
  assert.deepEqual([it.sub, it.expired, clock], ["ann", false, 1_800_000_000_000]);
  assert.deepEqual(calls.map(({ what }) => what), ["InitiateAuth", "RespondToAuthChallenge"]);
  assert.equal(calls[0].AuthFlow, "USER_SRP_AUTH");
  assert.equal(calls[1].Session, "s1");
  assert.doesNotMatch(JSON.stringify(calls), /ssw/);
});

test("a temporary password has to be replaced first", async () => {
  const asked = { ChallengeName: "NEW_PASSWORD_REQUIRED", Session: "s2", ChallengeParameters: {} };
  const { session: it, calls } = session([ASKED, asked, result()]);
  assert.equal(await it.signIn("ann@example.com", "temporary"), true);
  assert.equal(it.sub, null);
  await it.setPassword("Another1password");
  assert.deepEqual(calls[2].ChallengeResponses, {
    USERNAME: VECTOR.challenge.USERNAME, NEW_PASSWORD: "Another1password",
  });
  assert.equal(it.sub, "ann");
});

test("each refusal keeps its name", async () => {
  for (const kind of [
    "NotAuthorizedException", "UserNotConfirmedException", "PasswordResetRequiredException",
    "TooManyRequestsException",
  ]) {
    const { session: it } = session([refusal(`com.amazonaws#${kind}`)]);
    await assert.rejects(it.signIn("a", "b"), { code: kind });
  }
  await assert.rejects(session([{ status: 500, body: "x" }]).session.signIn("a", "b"), {
    code: "cognito_failed",
  });
  const { session: away } = session([new TypeError("Failed to fetch")]);
  await assert.rejects(away.signIn("a", "b"), { code: "cognito_unreachable", message: "https://idp/" });
  const asked = { ChallengeName: "SMS_MFA", Session: "s" };
  await assert.rejects(session([ASKED, asked]).session.signIn("a", "b"), { code: "unknown_challenge" });
});

test("a token is renewed before it expires, once for all who ask", async () => {
  const fresh = token({ sub: "ann", iat: 1_800_003_500, jti: "2" });
  const { session: it, calls } = session([
    ASKED, result({ ExpiresIn: 0 }), result({ AccessToken: fresh, RefreshToken: undefined }),
  ]);
  await it.signIn("a", "b");
  assert.ok(it.expired);
  assert.deepEqual(await Promise.all([it.token(), it.token()]), [fresh, fresh]);
  assert.equal(calls.length, 3);
  assert.deepEqual(calls[2].AuthParameters, { REFRESH_TOKEN: "refresh" });
  assert.equal(await it.token(), fresh);
});

test("a refresh token that is refused ends the sign-in", async () => {
  const { session: it } = session([ASKED, result({ ExpiresIn: 0 }), refusal("NotAuthorizedException")]);
  await it.signIn("a", "b");
  await assert.rejects(it.token(), { code: "session_over" });
  assert.equal(it.sub, null);
});

test("a fault of Cognito's ends nothing, and is not asked again at once", async () => {
  for (const fault of [
    { status: 500, body: { __type: "InternalErrorException" } }, { status: 503, body: "x" },
    refusal("LimitExceededException"),
  ]) {
    const { session: it, calls } = session([ASKED, result({ ExpiresIn: 3600 }), fault, result()]);
    await it.signIn("a", "b");
    await assert.rejects(it.renew());
    assert.deepEqual([it.sub, it.expired], ["ann", false]);
    assert.ok(await it.token());
    assert.equal(calls.length, 3);
  }
});

test("a network that is down ends nothing", async () => {
  const { session: it } = session([ASKED, result({ ExpiresIn: 0 }), new TypeError(), result()]);
  await it.signIn("a", "b");
  await assert.rejects(it.token(), { code: "cognito_unreachable" });
  assert.ok(await it.token());
});

test("whoever signs out has no token, and Cognito is told", async () => {
  const { session: it, calls } = session([ASKED, result(), {}]);
  await it.signIn("a", "b");
  it.signOut();
  assert.deepEqual([it.sub, it.expired, calls[2].what], [null, true, "RevokeToken"]);
  await assert.rejects(it.token(), { code: "session_over" });
});

test("claims are read as UTF-8", () => {
  assert.deepEqual(claims(token({ sub: "ü" })), { sub: "ü" });
});

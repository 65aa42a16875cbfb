// Who is signed in: Cognito by SRP, tokens in memory only, renewed before they expire.

import { begin, fromBase64, prove } from "./srp.js";

const LIMIT_MS = 15_000;
// A token is renewed this long before it expires, or a tenth of its life if that is less.
const EARLY_MS = 300_000;
// What else Cognito says to a renewal passes.
const OVER = ["NotAuthorizedException", "UserNotFoundException", "PasswordResetRequiredException"];
const PAUSE_MS = 10_000;

// Cognito refused, or could not be asked; `code` is a row of errors.js.
export class SignInError extends Error {
  constructor(code, message) {
    super(message || code);
    this.code = code;
  }
}

// The claims of a token, unchecked: whoever uses one here got it from Cognito.
export function claims(token) {
  return JSON.parse(new TextDecoder().decode(fromBase64(token.split(".")[1])));
}

// One person's sign-in. `onClock(ms)` hears what Cognito's clock said when a token was made.
export class Session {
  #config;
  #fetch;
  #onClock;
  #tokens = null;
  #challenge = null;
  #renewing = null;
  #restsUntil = 0;

  constructor(config, { fetch = globalThis.fetch.bind(globalThis), onClock = () => {} } = {}) {
    this.#config = config;
    this.#fetch = fetch;
    this.#onClock = onClock;
  }

  // The signed-in user's id in the pool; null while nobody is.
  get sub() {
    return this.#tokens && this.#tokens.sub;
  }

  // True when a new password is asked for, false when the user is in. Raises SignInError.
  async signIn(email, password) {
    const pair = begin();
    const first = await this.#call("InitiateAuth", {
      AuthFlow: "USER_SRP_AUTH",
      AuthParameters: { USERNAME: email, SRP_A: pair.open.toString(16) },
    });
    if (first.ChallengeName !== "PASSWORD_VERIFIER") return this.#take(first);
    const proof = await prove(pair, this.#config.userPoolId, password, first.ChallengeParameters);
    const answer = await this.#answer("PASSWORD_VERIFIER", first.Session, proof);
    return this.#take(answer, proof.USERNAME);
  }

  // Ends a sign-in that asked for a new password. Raises SignInError.
  async setPassword(password) {
    const { session, user } = this.#challenge;
    const answers = { USERNAME: user, NEW_PASSWORD: password };
    this.#take(await this.#answer("NEW_PASSWORD_REQUIRED", session, answers), user);
  }

  // Whether the access token has expired, by either of this machine's clocks.
  get expired() {
    return !this.#tokens || this.#leftMs() <= 0;
  }

  // An access token that is good now. Raises SignInError, `session_over` if there is none.
  async token() {
    const rests = performance.now() < this.#restsUntil;
    const early = rests || !this.#tokens ? 0 : Math.min(EARLY_MS, this.#tokens.lifeMs / 10);
    if (this.#tokens && this.#leftMs() > early) return this.#tokens.access;
    try {
      await this.renew();
    } catch (error) {
      if (error.code === "session_over" || this.expired) throw error;
    }
    return this.#tokens.access;
  }

  // New tokens for the refresh token; several callers share one call. Raises SignInError.
  async renew() {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  // Forgets the tokens, and has Cognito forget them too if it can be reached.
  signOut() {
    const refresh = this.#tokens && this.#tokens.refresh;
    this.#tokens = null;
    if (refresh) this.#call("RevokeToken", { Token: refresh }).catch(() => {});
  }

  async #renew() {
    const refresh = this.#tokens && this.#tokens.refresh;
    if (!refresh) throw new SignInError("session_over");
    try {
      const answer = await this.#call("InitiateAuth", {
        AuthFlow: "REFRESH_TOKEN_AUTH",
        AuthParameters: { REFRESH_TOKEN: refresh },
      });
      // Somebody may have signed out meanwhile.
      if (this.#tokens) this.#keep(answer.AuthenticationResult, refresh);
    } catch (error) {
      this.#restsUntil = performance.now() + PAUSE_MS;
      if (!OVER.includes(error.code)) throw error;
      this.#tokens = null;
      throw new SignInError("session_over", error.message);
    }
  }

  #take(answer, user) {
    if (answer.ChallengeName === "NEW_PASSWORD_REQUIRED") {
      const name = answer.ChallengeParameters?.USER_ID_FOR_SRP ?? user;
      this.#challenge = { session: answer.Session, user: name };
      return true;
    }
    if (!answer.AuthenticationResult) {
      throw new SignInError("unknown_challenge", answer.ChallengeName);
    }
    this.#challenge = null;
    this.#keep(answer.AuthenticationResult);
    return false;
  }

  #keep(result, refresh) {
    const { sub, iat } = claims(result.AccessToken);
    this.#tokens = {
      sub,
      access: result.AccessToken,
      refresh: result.RefreshToken ?? refresh,
      lifeMs: result.ExpiresIn * 1000,
      at: performance.now(),
      wallAt: Date.now(),
    };
    if (Number.isFinite(iat)) this.#onClock(iat * 1000);
  }

  // One clock stops while a laptop sleeps, the other is put right by hand: the later one counts.
  #leftMs() {
    const { lifeMs, at, wallAt } = this.#tokens;
    return lifeMs - Math.max(performance.now() - at, Date.now() - wallAt);
  }

  #answer(name, session, responses) {
    const body = { ChallengeName: name, Session: session, ChallengeResponses: responses };
    return this.#call("RespondToAuthChallenge", body);
  }

  async #call(operation, body) {
    const headers = {
      "Content-Type": "application/x-amz-json-1.1",
      "X-Amz-Target": `AWSCognitoIdentityProviderService.${operation}`,
    };
    const content = JSON.stringify({ ClientId: this.#config.clientId, ...body });
    let response, answer;
    try {
      response = await this.#fetch(this.#config.cognitoUrl, {
        method: "POST", headers, body: content, signal: AbortSignal.timeout(LIMIT_MS),
      });
      answer = await response.json().catch(() => ({}));
    } catch {
      const offline = globalThis.navigator?.onLine === false;
      throw new SignInError(offline ? "offline" : "cognito_unreachable", this.#config.cognitoUrl);
    }
    if (response.ok) return answer;
    const kind = String(answer.__type ?? "").split("#").pop();
    const busy = response.status === 429 ? "TooManyRequestsException" : "cognito_failed";
    throw new SignInError(kind || busy, answer.message ?? answer.Message);
  }
}

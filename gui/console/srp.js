// Cognito's kind of SRP-6a (a 3072-bit group, SHA-256): the password never leaves the page.

const N_HEX =
  "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A0879" +
  "8E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B" +
  "0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA4836" +
  "1C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804" +
  "F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6" +
  "955817183995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64" +
  "ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7ABF5AE8CDB0933D71E8C94E04A25619DCEE3D226" +
  "1AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2" +
  "08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF";
const N = BigInt("0x" + N_HEX);
const G = 2n;
const INFO = "Caldera Derived Key";
const SECRET_BYTES = 32;

const utf8 = (text) => new TextEncoder().encode(text);
const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const toNumber = (bytes) => BigInt("0x" + toHex(bytes));
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

// A number's bytes as Java's BigInteger writes them: a zero before a leading bit that is set.
export function padded(number) {
  let hex = number.toString(16);
  if (hex.length % 2) hex = "0" + hex;
  else if (/^[89a-f]/.test(hex)) hex = "00" + hex;
  return Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
}

function joined(...parts) {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function power(base, exponent) {
  let result = 1n;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % N;
    if (bit === "1") result = (result * base) % N;
  }
  return result;
}

// The client's secret and public values; `secret` (a BigInt) is given by tests only.
export function begin(secret = toNumber(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)))) {
  return { secret, open: power(G, secret) };
}

// Cognito's form of a time: `Tue Sep 5 22:04:05 UTC 2026`.
export function timestamp(date) {
  const [weekday, day, month, year, clock] = date.toUTCString().replace(",", "").split(" ");
  return `${weekday} ${month} ${Number(day)} ${clock} UTC ${year}`;
}

// The bytes of a text in base64, of either alphabet.
export const fromBase64 = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (it) => it.charCodeAt(0));

async function sharedKey(pair, server, salt, identity) {
  const u = toNumber(await sha256(joined(padded(pair.open), padded(server))));
  if (server % N === 0n || u === 0n) throw new RangeError("the pool's SRP values are not safe");
  const x = toNumber(await sha256(joined(padded(salt), await sha256(utf8(identity)))));
  const k = toNumber(await sha256(joined(padded(N), padded(G))));
  const base = (((server - k * power(G, x)) % N) + N) % N;
  const shared = power(base, pair.secret + u * x);
  const material = await crypto.subtle.importKey("raw", padded(shared), "HKDF", false, [
    "deriveBits",
  ]);
  const kdf = { name: "HKDF", hash: "SHA-256", salt: padded(u), info: utf8(INFO) };
  return crypto.subtle.deriveBits(kdf, material, 128);
}

// The answer to PASSWORD_VERIFIER, which proves the password. `pair` is what `begin` returned,
// `challenge` Cognito's ChallengeParameters. Raises RangeError for values that are not safe.
export async function prove(pair, poolId, password, challenge, date = new Date()) {
  const pool = poolId.slice(poolId.indexOf("_") + 1);
  const user = challenge.USER_ID_FOR_SRP;
  const server = BigInt("0x" + challenge.SRP_B);
  const salt = BigInt("0x" + challenge.SALT);
  const bits = await sharedKey(pair, server, salt, `${pool}${user}:${password}`);
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", bits, hmac, false, ["sign"]);
  const block = fromBase64(challenge.SECRET_BLOCK);
  const when = timestamp(date);
  const signed = await crypto.subtle.sign(
    "HMAC", key, joined(utf8(pool), utf8(user), block, utf8(when))
  );
  return {
    USERNAME: challenge.USERNAME ?? user,
    PASSWORD_CLAIM_SECRET_BLOCK: challenge.SECRET_BLOCK,
    PASSWORD_CLAIM_SIGNATURE: btoa(String.fromCharCode(...new Uint8Array(signed))),
    TIMESTAMP: when,
  };
}

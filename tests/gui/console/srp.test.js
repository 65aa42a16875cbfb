import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import test from "node:test";

import { begin, padded, prove, timestamp } from "../../../gui/console/srp.js";

// Made once by pycognito 2024.5.1, for secrets, salts and dates that were fixed.
const VECTORS = JSON.parse(readFileSync(new URL("srp-vectors.json", import.meta.url)));
const WHEN = new Date(Date.UTC(2026, 8, 5, 2, 4, 5));

test("it says what pycognito says", async () => {
  for (const vector of VECTORS) {
    const pair = begin(BigInt("0x" + vector.secret));
    assert.equal(pair.open.toString(16), vector.open);
    const said = await prove(pair, vector.pool, vector.password, vector.challenge, WHEN);
    assert.deepEqual(said, vector.response);
  }
});

test("another password is another proof", async () => {
  const [vector] = VECTORS;
  const pair = begin(BigInt("0x" + vector.secret));
  const said = await prove(pair, vector.pool, "Another1password", vector.challenge, WHEN);
  assert.notEqual(said.PASSWORD_CLAIM_SIGNATURE, vector.response.PASSWORD_CLAIM_SIGNATURE);
});

test("a pool whose value is a multiple of N is not believed: anybody would know the key", async () => {
  const [vector] = VECTORS;
  for (const value of ["0", "00"]) {
    const challenge = { ...vector.challenge, SRP_B: value };
    await assert.rejects(prove(begin(), vector.pool, "password", challenge), RangeError);
  }
});

test("numbers are padded as Java pads them", () => {
  const hex = (number) => Buffer.from(padded(number)).toString("hex");
  assert.equal(hex(0x7fn), "7f");
  assert.equal(hex(0x80n), "0080");
  assert.equal(hex(0xabcn), "0abc");
  assert.equal(hex(2n), "02");
});

test("a day is not padded, an hour is", () => {
  assert.equal(timestamp(WHEN), "Sat Sep 5 02:04:05 UTC 2026");
});

test("two sign-ins have two secrets", () => {
  assert.notEqual(begin().secret, begin().secret);
});

// The pool's side is Python's: what it asks is in one file, what is answered goes into another.
test("a pool that knows the verifier only accepts it", { skip: !process.env.SRP_ASKED }, async () => {
  const answers = [];
  for (const asked of JSON.parse(readFileSync(process.env.SRP_ASKED))) {
    const pair = begin();
    const answer = await prove(pair, asked.pool, asked.password, asked.challenge);
    answers.push({ open: pair.open.toString(16), answer });
  }
  writeFileSync(process.env.SRP_ANSWERED, JSON.stringify(answers));
});

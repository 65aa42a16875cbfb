import assert from "node:assert/strict";
import test from "node:test";

import {
  Countdown, answeredBy, firstWordInS, nodeReadyInS, steps, waitingFor,
} from "../../../gui/console/eta.js";

const NOW = 1_800_000_000_000;
const LAST = { kernel: 20, engine: 24, booting: 25, loading: 26, weights: 60, ready: 90 };
const lane = { phase: "off", in_flight: 0, estimate: 11, seconds: 0, eur: 0 };

/** /status with a node that started `agoS` seconds ago and reached steps at those seconds. */
function booting(agoS, reached, phase = "loading", more = {}) {
  const started = NOW - agoS * 1000;
  const timings = { started };
  for (const [step, at] of Object.entries(reached)) timings[step] = started + at * 1000;
  return { node: phase, nodes: [{ id: "i", phase, timings }], estimate: 120, last_boot: LAST, ...more };
}
const at = (sinceS = 0) => ({ serverMs: NOW, sinceS });

test("the lane answers when its estimate is what was promised", () => {
  const status = { node: "starting", nodes: [], estimate: 95, lane };
  assert.equal(answeredBy({ estimate: 11 }, status), "lane");
  assert.equal(answeredBy({ estimate: 95 }, status), "gpu");
  assert.equal(answeredBy({ estimate: 11 }, { ...status, node: "ready" }), "gpu");
  assert.equal(answeredBy({ estimate: 11 }, { ...status, lane: { ...lane, failure: {} } }), "gpu");
  assert.equal(answeredBy({}, { ...status, lane: { ...lane, phase: "working" } }), "lane");
  assert.equal(answeredBy({ estimate: 11 }, { ...status, lane: undefined }), "gpu");
  assert.equal(answeredBy({ estimate: 11 }, null), "gpu");
});

test("before the node is heard of, the last boot counts from the question, else the estimate", () => {
  const status = { node: "starting", nodes: [], estimate: 120, last_boot: LAST };
  assert.equal(nodeReadyInS({ estimate: 120 }, status, at(30)), 60);
  assert.equal(nodeReadyInS({ estimate: 120 }, { ...status, last_boot: undefined }, at(30)), 90);
});

test("a boot that others began is counted from its own start", () => {
  const status = booting(70, {}, "booting", { last_boot: undefined });
  assert.equal(nodeReadyInS({ estimate: 120 }, status, at(1)), 50);
});

test("the latest step counts, and what the last boot took from there", () => {
  const reached = { kernel: 22, engine: 26, booting: 27, loading: 28 };
  // 28 s where the last had 26: ready at 92.
  assert.equal(nodeReadyInS({}, booting(40, reached), at()), 52);
});

test("a step that is late holds the rest up", () => {
  const reached = { kernel: 22, engine: 26, booting: 27, loading: 28 };
  assert.equal(nodeReadyInS({}, booting(80, reached), at()), 30);
  assert.equal(nodeReadyInS({}, booting(300, reached), at()), 30);
});

test("a vLLM that words a step otherwise lacks it, and nothing else", () => {
  const reached = { kernel: 20, booting: 25, loading: 26, weights: 60 };
  assert.equal(nodeReadyInS({}, booting(70, reached), at()), 20);
});

test("steps are the last boot's, in their order, with what is reached", () => {
  const shown = steps(booting(40, { kernel: 22, strange: 3 }));
  assert.deepEqual(shown.map(({ step }) => step), Object.keys(LAST));
  assert.deepEqual([shown[0].measuredS, shown[0].reachedS, shown[1].reachedS], [20, 22, null]);
  assert.deepEqual(steps({ nodes: [] }).map(({ step }) => step), ["booting", "loading", "ready"]);
});

test("an unknown estimate is no countdown", () => {
  assert.equal(firstWordInS({}, { node: "off", nodes: [] }, at()), null);
  assert.equal(firstWordInS({}, { node: "ready", nodes: [] }, at()), null);
  assert.equal(firstWordInS({ estimate: 11 }, { node: "off", nodes: [], lane }, at(4)), 7);
});

test("what goes on is said for each phase", () => {
  const said = new Set();
  for (const node of ["off", "starting", "booting", "loading", "ready", "draining"]) {
    said.add(waitingFor({ estimate: 90 }, { node, nodes: [], estimate: 90 }));
  }
  assert.equal(said.size, 6);
  for (const phase of ["off", "loading", "working"]) {
    const status = { node: "booting", nodes: [], estimate: 90, lane: { ...lane, phase } };
    assert.match(waitingFor({ estimate: 11 }, status), /instant lane.*Meanwhile the GPU node boots/);
  }
});

test("a countdown falls with the clock, and at once when things go faster", () => {
  const countdown = new Countdown();
  assert.equal(countdown.read(0).seconds, null);
  countdown.update(60, 0);
  assert.equal(countdown.read(10_000).seconds, 50);
  countdown.update(20, 10_000);
  assert.deepEqual(countdown.read(10_000), { seconds: 20, text: "in about 20 s", word: "" });
});

test("it never rises without a word, and never below nothing", () => {
  const countdown = new Countdown();
  countdown.update(10, 0);
  countdown.update(8, 3_000); // a second more: not worth a word, and not shown
  assert.equal(countdown.read(3_000).seconds, 7);
  assert.equal(countdown.read(60_000).text, "any moment now");
  countdown.update(30, 60_000);
  const { seconds, word } = countdown.read(60_000);
  assert.equal(seconds, 30);
  assert.match(word, /longer.*30 s more/);
  countdown.update(null, 61_000);
  assert.equal(countdown.read(61_000).seconds, 29);
});

test("over many boots it is right from the machine's start on to within ten seconds, nine times in ten", () => {
  // Boots that differ as measured ones do: each leg up to a fifth longer or shorter than the last's.
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const off = [];
  for (let boot = 0; boot < 200; boot += 1) {
    const real = {};
    let before = 0;
    let clock = 0;
    for (const [step, measured] of Object.entries(LAST)) {
      clock += (measured - before) * (0.8 + 0.4 * random());
      before = measured;
      real[step] = clock;
    }
    const countdown = new Countdown();
    for (let now = 0; now < real.ready; now += 2.5) {
      const reached = Object.fromEntries(Object.entries(real).filter(([, then]) => then <= now));
      // Until its first heartbeat nothing is known of a node.
      const waking = { node: "starting", nodes: [], estimate: 100, last_boot: LAST };
      const known = now > 27 ? booting(now, reached) : waking;
      countdown.update(firstWordInS({ estimate: 100 }, known, at(now)), now * 1000);
      off.push(Math.abs(countdown.read(now * 1000).seconds - (real.ready + 1.5 - now)));
    }
  }
  off.sort((one, other) => one - other);
  assert.ok(off[Math.floor(off.length * 0.9)] <= 10, `p90 is ${off[Math.floor(off.length * 0.9)]} s`);
});

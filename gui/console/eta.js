// Who will answer, what it is doing, and in how many seconds by what boots have measured.

import { duration } from "./errors.js";

// Between a node that is ready and the first word that a poll can see.
const FIRST_WORD_S = 1.5;
// A prediction may grow by as much without a word.
const JITTER_S = 2;

// The steps of a boot in people's words (docs/boot.md).
export const STEPS = {
  kernel: "machine started",
  userspace: "system up",
  engine: "engine launched",
  booting: "node up",
  loading: "node told what to do",
  imported: "engine's code loaded",
  core: "engine's core loaded",
  weights: "weights loaded",
  profiled: "memory laid out",
  listening: "engine listens",
  ready: "ready",
};
const PLAIN = ["booting", "loading", "ready"];
const NODE_NOW = {
  __proto__: null,
  off: "is off",
  starting: "is being started by EC2",
  booting: "boots",
  loading: "loads the model",
  ready: "is ready",
  draining: "is going to sleep",
};

export const nodeNow = (phase) => NODE_NOW[phase] ?? String(phase);

const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

// Whether the lane's time was promised when the job was accepted; null when none was.
function lanePromised(job, { lane, estimate }) {
  const promised = number(job.estimate);
  if (promised === null) return null;
  const off = (figure) => Math.abs(promised - (number(figure) ?? Infinity));
  return Boolean(lane) && off(lane.estimate) <= off(estimate);
}

// `gpu` or `lane`: who will answer a job, by what its acceptance and /status say.
export function answeredBy(job, status) {
  const lane = status?.lane;
  if (!lane || lane.failure || status.node === "ready") return "gpu";
  return lanePromised(job, status) ?? lane.phase !== "off" ? "lane" : "gpu";
}

// The node that boots and is furthest along; undefined when none does.
function booting(status) {
  const nodes = (status.nodes ?? []).filter(
    (node) => ["booting", "loading"].includes(node.phase) && number(node.timings?.started) !== null
  );
  const reached = (node) => Object.keys(node.timings).length;
  return nodes.sort((one, other) => reached(other) - reached(one))[0];
}

// The steps of the boot that is under way: [{step, label, measuredS, reachedS}] in the order of the
// last boot, in seconds after the machine's start; null where unknown.
export function steps(status) {
  const last = status.last_boot ?? {};
  const names = Object.keys(last).length ? Object.keys(last) : PLAIN;
  const timings = booting(status)?.timings;
  return names
    .filter((step) => Object.hasOwn(STEPS, step))
    .map((step) => {
      const at = timings && number(timings[step]);
      const reachedS = at ? Math.max(0, (at - timings.started) / 1000) : null;
      return { step, label: STEPS[step], measuredS: number(last[step]), reachedS };
    });
}

// Seconds until a node is ready, null if unknown; `sinceS` is how long ago the job was accepted. By
// the latest step of this boot and what the last took from there; before, by all that it took.
export function nodeReadyInS(job, status, { serverMs, sinceS }) {
  if (status.node === "ready") return 0;
  const node = booting(status);
  const told = lanePromised(job, status) ? null : number(job.estimate);
  const promised = told ?? number(status.estimate) ?? number(job.eta);
  const readyS = number(status.last_boot?.ready);
  const whole = readyS || promised;
  if (!node || serverMs === null) return whole === null ? null : whole - sinceS;
  const runs = (serverMs - node.timings.started) / 1000;
  const known = steps(status).filter((step) => step.measuredS !== null);
  const done = known.filter((step) => step.reachedS !== null && step.step !== "ready").at(-1);
  if (!readyS || !done) return whole === null ? null : whole - runs;
  const next = known.find((step) => step.reachedS === null && step.measuredS >= done.measuredS);
  const byStep = done.reachedS + readyS - done.measuredS - runs;
  // A step that is late holds the rest up.
  return Math.max(byStep, next ? readyS - next.measuredS : 0);
}

// Seconds until the first word of the answer; null when nothing is known.
export function firstWordInS(job, status, { serverMs, sinceS }) {
  if (answeredBy(job, status) === "lane") {
    const promised = number(job.estimate) ?? number(status.lane.estimate);
    return promised === null ? null : promised - sinceS;
  }
  const ready = nodeReadyInS(job, status, { serverMs, sinceS });
  return ready === null || status.node === "ready" ? null : ready + FIRST_WORD_S;
}

export function waitingFor(job, status) {
  if (!status) return "The question is in the queue.";
  const { node, lane } = status;
  if (node === "ready") return "The question is in the queue of the GPU node, which is ready.";
  if (answeredBy(job, status) === "lane") {
    const what = { loading: "loads the model", working: "is at work" }[lane.phase] ?? "is called";
    const also = ["starting", "booting", "loading"].includes(node)
      ? ` Meanwhile the GPU node ${nodeNow(node)}.`
      : "";
    return `The instant lane will answer: it ${what}.${also}`;
  }
  if (node === "draining") return "The GPU node goes to sleep; the next one is called soon.";
  if (node === "off") return "A GPU node is being called.";
  return `The GPU node will answer: it ${nodeNow(node)}.`;
}

// A countdown that people can trust: it runs by a steady clock, is never negative, falls when
// things go faster, and says so when it has to rise.
export class Countdown {
  #endsAt = null;
  #word = "";
  #wordUntil = 0;

  // `seconds` until the end, as is thought now, or null; `nowMs` by a steady clock.
  update(seconds, nowMs) {
    if (seconds === null) return;
    const endsAt = nowMs + seconds * 1000;
    if (this.#endsAt !== null && endsAt > Math.max(this.#endsAt, nowMs) + JITTER_S * 1000) {
      const more = Math.round((endsAt - Math.max(this.#endsAt, nowMs)) / 1000);
      this.#word = `This takes longer than it did before: ${duration(more)} more.`;
      this.#wordUntil = nowMs + 15_000;
      this.#endsAt = endsAt;
    } else if (this.#endsAt === null || endsAt < this.#endsAt) {
      this.#endsAt = endsAt;
    }
  }

  // {seconds, text, word}: whole seconds, null when unknown.
  read(nowMs) {
    const word = nowMs < this.#wordUntil ? this.#word : "";
    if (this.#endsAt === null) return { seconds: null, text: "", word };
    const seconds = Math.max(0, Math.ceil((this.#endsAt - nowMs) / 1000));
    return { seconds, text: seconds ? `in about ${duration(seconds)}` : "any moment now", word };
  }
}

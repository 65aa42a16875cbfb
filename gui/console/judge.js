// Follows a job's reply to its end, and says what may be believed when the server cannot.

export const FINAL = ["done", "failed", "expired", "cancelled"];
// After these the server can no longer answer (docs/api.md): the first counts from `expires_at` by
// the server's clock, the second from the last change of a reply that is running.
const GRACE_MS = 5_000;
const SILENCE_MS = 120_000;
// Should nobody know the server's time: longer than any job waits.
const LONGEST_WAIT_MS = 600_000;
const WORST_PAUSE_MS = 30_000;

export const isFinal = (reply) => Boolean(reply) && FINAL.includes(reply.status);

export function sameVersion(one, other) {
  const parts = ["sequence", "status", "updated_at", "worker", "attempt"];
  return Boolean(one && other) && parts.every((part) => one[part] === other[part]);
}

// The reply as it may be believed, null while there is none. `serverMs` is the server's time or
// null, `unchangedMs` how long this page has seen no change.
export function judge(job, reply, { serverMs, unchangedMs }) {
  if (reply === null) {
    const over = serverMs === null || !Number.isFinite(job.expires_at)
      ? unchangedMs > LONGEST_WAIT_MS
      : serverMs > job.expires_at + GRACE_MS;
    return over ? { id: job.id, status: "expired", text: "", reason: "unclaimed" } : null;
  }
  if (isFinal(reply)) return reply;
  const told = serverMs === null ? 0 : serverMs - reply.updated_at;
  const silentMs = Math.max(unchangedMs, Number.isFinite(told) ? told : 0);
  return silentMs > SILENCE_MS ? { ...reply, status: "expired", reason: "silent" } : reply;
}

// Milliseconds until the next look: often while text flows, seldom while a node wakes.
export function pause(reply, { unchangedMs, hidden }) {
  if (hidden) return 5_000;
  if (reply) return unchangedMs < 10_000 ? 400 : 1_500;
  return unchangedMs < 20_000 ? 600 : 1_500;
}

// Milliseconds to wait after `failures` calls that failed in a row.
export function backoff(failures, retryAfterS) {
  const own = Math.min(WORST_PAUSE_MS, 500 * 2 ** failures);
  return Math.max(own, Math.min(WORST_PAUSE_MS, (retryAfterS ?? 0) * 1000));
}

// What new text is to the one that is shown: the rest to append, or all of it, begun again.
export function growth(shown, text) {
  return text.startsWith(shown)
    ? { again: false, rest: text.slice(shown.length) }
    : { again: true, rest: text };
}

const shaped = (reply) =>
  reply && typeof reply === "object" && typeof reply.status === "string"
    ? { ...reply, text: typeof reply.text === "string" ? reply.text : "" }
    : null;

// Nothing more can come of these: somebody has to do something first.
const GIVES_UP = ["session_over", "bad_request", "unsupported_media_type", "quota_exceeded"];

// Looks until the reply is final, and returns it. `ports`: read(id, signal), serverMs(), now() in
// ms, sleep(ms), hidden(), changed(reply), troubled(problem or null), and the signal that ends it.
// Raises the signal's reason, or the Problem that more tries do not mend.
export async function follow(job, ports) {
  let seen = null;
  let changedAt = ports.now();
  let failures = 0;
  for (;;) {
    ports.signal.throwIfAborted();
    let reply;
    try {
      reply = shaped(await ports.read(job.id, ports.signal));
    } catch (problem) {
      ports.signal.throwIfAborted();
      if (GIVES_UP.includes(problem.code)) throw problem;
      failures += 1;
      ports.troubled(problem);
      await ports.sleep(backoff(failures, problem.retryAfterS));
      continue;
    }
    ports.signal.throwIfAborted();
    if (failures) ports.troubled(null);
    failures = 0;
    if (reply && !sameVersion(reply, seen)) changedAt = ports.now();
    const unchangedMs = ports.now() - changedAt;
    const believed = judge(job, reply, { serverMs: ports.serverMs(), unchangedMs });
    if (believed && !sameVersion(believed, seen)) ports.changed(believed);
    seen = believed ?? seen;
    if (isFinal(believed)) return believed;
    await ports.sleep(pause(reply, { unchangedMs, hidden: ports.hidden() }));
  }
}

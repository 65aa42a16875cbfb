"""Jobs through the watcher on the real vLLM, in order and while its parts fail: check → seen.

The first time it installs vLLM and converts the model (`setup`); then it takes about ten minutes,
most of them vLLM's four starts on a CPU. Both run under supervisord with the node's configuration.

    python -m bench.vllm [check ...]
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from bench.nodes import Node, Nodes, nodes, until
from bench.vllm import server, setup
from local.machine.ports import free_port
from local.node.node import LocalNode
from tlfif.queue import accepting, scripts

STORY = "Write a long story about a lighthouse keeper and his cat."
# Longer than the watcher may doubt an engine and vLLM may take to start.
RECOVERY_S = 600.0
JOBS_AT_ONCE = 4

Seen = tuple[bool, str]


class Check:
    """A node whose engine is vLLM."""

    def __init__(self, stack: Nodes, node: Node, machine: LocalNode, url: str):
        self._stack, self._node, self._machine, self._url = stack, node, machine, url

    # --- in order

    async def answers(self) -> Seen:
        """Done, with partial replies meanwhile and the engine's reason at its end."""
        job = self._node.submit("Count from one to thirty in words.", max_tokens=200, temperature=0)
        reply = await self._node.final(job)
        partials = sum(bool(body["text"]) for body in self._stack.history(job)) - 1
        good = (reply["status"], reply.get("finish_reason")) == ("done", "stop") and partials > 0
        return good, f"{_told(reply)}, {partials} partial replies"

    async def length(self) -> Seen:
        """An answer that max_tokens cuts off says so."""
        reply = await self._node.final(self._node.submit(STORY, max_tokens=8, temperature=0))
        good = (reply["status"], reply.get("finish_reason")) == ("done", "length")
        return good and reply["completion_tokens"] == 8, _told(reply)

    async def cancel(self) -> Seen:
        """A cancelled job ends, and vLLM generates nothing more for it."""
        job = self._node.submit(STORY, max_tokens=1000)
        await self._begun(job)
        before, asked = await server.running(self._url), time.monotonic()
        self._node.cancel(job)
        reply = await self._node.final(job)
        replied_s = time.monotonic() - asked
        with contextlib.suppress(TimeoutError):
            await until(self._engine_rests, 5)
        left = await server.running(self._url)
        good = (reply["status"], before, left) == ("cancelled", 1, 0) and replied_s <= 1
        return (
            good,
            f"{_told(reply)} after {replied_s:.1f} s; running in vLLM: {before}, then {left}",
        )

    async def too_long(self) -> Seen:
        """A prompt longer than the context is refused, in vLLM's words."""
        reply = await self._node.final(self._node.submit("a b " * 3000, max_tokens=5))
        good = reply["status"] == "failed" and "maximum context length" in reply["error"]
        return good, f"{_told(reply)}: {reply.get('error', '')}"

    async def lowered(self) -> Seen:
        """A max_tokens that does not fit beside its prompt is lowered, with a notice."""
        # Little is left beside it: a small model may not find its end.
        job = self._node.submit("a b " * 960, max_tokens=1024)
        reply = await self._node.final(job, RECOVERY_S)
        good = reply["status"] == "done" and "was lowered from 1024" in reply.get("notice", "")
        return good, f"{_told(reply)}: {reply.get('notice', 'no notice')}"

    async def refused(self) -> Seen:
        """An option out of vLLM's range fails the job at once, in its words."""
        reply = await self._node.final(self._node.submit("Hi", max_tokens=5, top_p=0))
        good = reply["status"] == "failed" and "top_p" in reply["error"] and reply["attempt"] == 1
        return good, f"{_told(reply)}: {reply.get('error', '')}"

    # --- while its parts fail

    async def core_killed(self) -> Seen:
        """kill -9 of the engine core: the jobs that ran are done once vLLM is back."""
        return await self._while_harmed(lambda: server.harm_core(self._machine, signal.SIGKILL))

    async def core_hangs(self) -> Seen:
        """SIGSTOP of the engine core: vLLM takes requests and says nothing until the watcher has it
        restarted.
        """
        return await self._while_harmed(lambda: server.harm_core(self._machine, signal.SIGSTOP))

    async def server_killed(self) -> Seen:
        """kill -9 of the API server: the jobs that ran are done once vLLM is back."""
        return await self._while_harmed(
            lambda: os.kill(self._machine.pids["model"], signal.SIGKILL)
        )

    async def _while_harmed(self, harm: Callable[[], None]) -> Seen:
        jobs = [self._node.submit(f"{STORY} {n}", max_tokens=60) for n in range(JOBS_AT_ONCE)]
        await asyncio.gather(*map(self._begun, jobs))
        starts, first = self._starts(), len(self._node.log)
        harm()
        began = time.monotonic()
        phases = asyncio.create_task(self._first_other_phase(began))
        late = self._node.submit(f"{STORY} late", max_tokens=20)
        try:
            replies = [await self._node.final(job, RECOVERY_S) for job in (*jobs, late)]
        finally:
            phases.cancel()
        took_s = time.monotonic() - began
        ended = [reply["status"] for reply in replies]
        whys = [line.get("why", "") for line in self._node.log[first:]]
        notes = [
            f"{ended.count('done')} of {len(ended)} done after {took_s:.0f} s",
            f"attempts {[reply['attempt'] for reply in replies]}",
            f"vLLM started {self._starts() - starts} times",
            phases.result() if phases.done() and not phases.cancelled() else "node stayed ready",
            *dict.fromkeys(f"heard: {why[:160]}" for why in whys if why),
            *dict.fromkeys(f"error: {reply['error']}" for reply in replies if reply.get("error")),
        ]
        return ended == ["done"] * len(ended), "; ".join(notes)

    async def _first_other_phase(self, began: float) -> str:
        async def other() -> bool:
            nodes = scripts.run(self._node.redis, accepting.status()).nodes
            return [node["phase"] for node in nodes] != ["ready"]

        await until(other, RECOVERY_S)
        return f"node no longer ready after {time.monotonic() - began:.1f} s"

    async def _begun(self, job: accepting.NewJob) -> None:
        async def so() -> bool:
            return bool(self._stack.reply(job).get("text"))

        await until(so, 60)

    async def _engine_rests(self) -> bool:
        return not await server.running(self._url)

    def _starts(self) -> int:
        """How often supervisord has started vLLM."""
        log = self._stack.procs.log_dir / f"{self._node.id}-supervisord.log"
        return log.read_text().count("spawned: 'vllm'")


@contextlib.asynccontextmanager
async def checking(folder: Path) -> AsyncIterator[Check]:
    """A node whose engine is vLLM, ready."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with nodes(folder) as stack:
        node = await stack.add()
        machine = LocalNode(
            stack.procs,
            node.id,
            imds_endpoint=stack.endpoint.imds_url(node.id),
            aws_endpoint=stack.endpoint.url,
            environment={
                "TLFIF_MODEL_URL": url,
                "TLFIF_ENGINE": "vllm",
                "TLFIF_REDIS_PORT": str(node.valkey.port),
            },
            commands={"model": server.command(port)},
            on_line=node.hear,
        )
        stack.endpoint.on_instance_state(machine.on_state)
        await stack.endpoint.instances.start([node.id])
        try:
            _say("starting vLLM")
            await node.ready(RECOVERY_S)
            yield Check(stack, node, machine, url)
        finally:
            await machine.close()


# In this order: each leaves the engine as the next one takes it.
CHECKS: list[Callable[[Check], Awaitable[Seen]]] = [
    Check.answers, Check.length, Check.cancel, Check.too_long, Check.lowered, Check.refused,
    Check.core_killed, Check.server_killed, Check.core_hangs,
]  # fmt: skip


async def main(wanted: Sequence[str]) -> bool:
    """Prints check → seen, of those that are wanted, or of all; whether all was well."""
    await asyncio.to_thread(setup.prepare)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        async with checking(Path(folder)) as check:
            checks = [each for each in CHECKS if not wanted or each.__name__ in wanted]
            for each in checks:
                good, seen = await _tried(lambda each=each: each(check))
                bad += not good
                print(f"{'ok ' if good else 'BAD'} {each.__name__:14} {seen}", flush=True)
    print(f"{len(checks) - bad} passed, {bad} failed")
    return not bad


async def _tried(check: Callable[[], Awaitable[Seen]]) -> Seen:
    try:
        return await check()
    except (TimeoutError, AssertionError) as error:
        return False, f"{type(error).__name__}: {error}"


def _told(reply: dict[str, Any]) -> str:
    told = [reply["status"]]
    if reply.get("finish_reason"):
        told.append(f"finish_reason {reply['finish_reason']}")
    if reply.get("completion_tokens"):
        told.append(f"{reply['completion_tokens']} tokens")
    return ", ".join(told)


def _say(what: str) -> None:
    print(f"vllm-check: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    known = [each.__name__ for each in CHECKS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(known)}")
    wanted = parser.parse_args().checks
    if unknown := [each for each in wanted if each not in known]:
        parser.error(f"{unknown[0]!r} is no check; there are {', '.join(known)}")
    sys.exit(0 if asyncio.run(main(wanted)) else 1)

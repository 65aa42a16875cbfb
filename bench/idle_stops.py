"""How exactly nodes stop themselves: when EC2 got StopInstances, less when it was due.

Due is the end of a node's last job plus the idle minutes that this job asked for. The watchers are
processes as on the node, booted anew for every stop, several at once, each with a queue of its own;
a minute lasts a second, so the error is in real seconds, as on AWS.

    python -m bench.idle_stops [stops]
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.arguments import how_many
from bench.nodes import Node, Nodes, nodes, serve_script

AT_ONCE = 10
STOPS = 100
SECONDS_PER_MINUTE = 1.0
# What the jobs of one node ask for, one after the other; the last one counts.
IDLE_MINUTES = ((5, 1), (1, 2), (2, 3), (1, 4), (3, 1))
ANSWER = "tokens=3 every=0.01"


async def measure(logs: Path, stops: int, at_once: int = AT_ONCE) -> list[float]:
    """The errors of so many stops, in s; late ones are positive."""
    told = {"TLFIF_SECONDS_PER_MINUTE": str(SECONDS_PER_MINUTE)}
    async with nodes(logs, **told) as stack:
        engine = await serve_script(stack.procs)
        fleet = [await stack.add() for _ in range(min(at_once, stops))]
        errors: list[float] = []
        while len(errors) < stops:
            batch = fleet[: stops - len(errors)]
            # All have booted before the first is measured: a boot takes a second of the processor.
            await asyncio.gather(*(_boot(node, engine) for node in batch))
            first = len(errors)
            lives = [_life(stack, node, first + place) for place, node in enumerate(batch)]
            errors += await asyncio.gather(*lives)
            print(f"{len(errors)} of {stops} stops", file=sys.stderr, flush=True)
        return errors


async def _boot(node: Node, engine: str) -> None:
    # Nobody's first job may find a node that has stopped already.
    await node.boot(engine, idle_minutes=30)
    await node.ready()


async def _life(stack: Nodes, node: Node, number: int) -> float:
    """One node's jobs and its stop; by how many seconds that was off."""
    minutes = IDLE_MINUTES[number % len(IDLE_MINUTES)]
    for each in minutes:
        # Of the same prompt the engine would count the tries.
        job = node.submit(f"{ANSWER} n={number}.{each}", idle_minutes=each)
        reply = await node.final(job)
    await node.stopped()
    due = reply["finished_at"] / 1000 + minutes[-1] * SECONDS_PER_MINUTE
    return stack.last_stop(node.id).time - due


def report(errors: Sequence[float]) -> str:
    """The figures, in one line."""
    sizes = [abs(error) for error in errors]
    cuts = statistics.quantiles(sizes, n=100, method="inclusive")
    early = sum(error < 0 for error in errors)
    return (
        f"{len(errors)} idle stops, error in s: p50 {cuts[49]:.3f}, p99 {cuts[98]:.3f}, "
        f"max {max(sizes):.3f}; {early} too early (the story allows 5 s)"
    )


async def main(stops: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(report(await measure(Path(folder), stops)))


if __name__ == "__main__":
    asyncio.run(main(how_many(__doc__, "stops", STOPS)))

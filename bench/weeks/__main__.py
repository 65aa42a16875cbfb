"""gpu:wake at each value: who answered, what it cost, and for how long people waited.

What is decided (who is called or woken, who gets which job, who may go) is decided by the queue's
own scripts on a real Valkey; what only takes time (people, boots, engines) is simulated, in a clock
of its own. Who asks what is in load.py, how long an engine takes in engines.py.

    python -m bench.weeks [weeks [write]]

`write` puts the table into docs/instant-lane.md.
"""

import argparse
import asyncio
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import redis

from bench.arguments import count
from bench.weeks import load
from bench.weeks.record import Record
from bench.weeks.world import POLICIES, Policy, World
from components.prices import PRICES
from components.settings import Settings
from local.machine.processes import Processes
from local.machine.valkey import start_valkey

PAGE = Path(__file__).parents[2] / "docs" / "instant-lane.md"
BLOCK = re.compile(r"<!-- weeks -->\n.*?<!-- /weeks -->", re.DOTALL)
WEEKS, MORE_OF_ONE, SEED, WEEKS_A_MONTH = 1, 4, 1, 365 / 12 / 7
REGION = "us-east-1"
COLUMNS = (
    "users", "`gpu:wake`", "answers: lane / GPU", "first token p50 / p90",
    "of a session's first prompt p50", "of a long prompt p50", "whole answer p90", "GPU hours",
    "GPU €", "lane GB-s", "lane €", "of the free tier", "expired",
)  # fmt: skip


async def main(weeks: int, *, write: bool) -> None:
    """Prints the table, and what it took."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        async with Processes(Path(folder)) as procs:
            valkey = await start_valkey(procs)
            with valkey.operator(decode_responses=True) as client:
                text = await asyncio.to_thread(table, client, weeks)
    print(text)
    print(f"{weeks} weeks, in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    if write:
        PAGE.write_text(written(PAGE.read_text(), text))


def written(page: str, text: str) -> str:
    """The page with this table."""
    return BLOCK.sub(lambda _: f"<!-- weeks -->\n{text}\n<!-- /weeks -->", page)


def table(client: "redis.Redis", weeks: int, seed: int = SEED) -> str:
    """The table, a line for each group of users and policy; its figures are a week's."""
    return "\n".join([_row(COLUMNS), "|" + "---|" * len(COLUMNS), *rows(client, weeks, seed)])


def rows(client: "redis.Redis", weeks: int, seed: int = SEED) -> Iterator[str]:
    """The table's lines; one person has so few prompts a week that more weeks are taken."""
    settings = Settings.parse({"aws:region": REGION})
    for users, how_many in load.USERS.items():
        taken = weeks * MORE_OF_ONE if how_many == 1 else weeks
        for policy in POLICIES:
            record = simulate(client, policy, how_many, taken, settings, seed)
            yield _row([users, policy.name, *figures(record, taken, settings)])


def simulate(
    client: "redis.Redis",
    policy: Policy,
    how_many: int,
    weeks: int,
    settings: Settings,
    seed: int = SEED,
) -> Record:
    """So many people's weeks under a policy."""
    client.flushall()
    world = World(client, policy, settings, seed)
    record = world.run(load.people(seed, how_many, weeks), weeks)
    # What /status bills is what ran, but for calls that found another lane at work.
    assert abs(world.used_s() - record.lane_s) <= 2 * record.invocations, world.used_s()
    return record


def figures(record: Record, weeks: int, settings: Settings) -> list[str]:
    """What a line says beside who and how."""
    asked = record.asked.values()
    by = Counter(each.by for each in asked)
    answered = [each for each in asked if each.by != "expired"]
    first = [each.first_s for each in answered]
    opening = [each.first_s for each in answered if each.opens]
    long = [each.first_s for each in answered if each.prompt.size >= load.LONG_BYTES[0]]
    gpu_hours = record.gpu_s / 3600 / weeks
    gb_s = record.lane_s * settings.cpu.memory_mb / 1024 / weeks
    lane_eur = record.lane_s / 3600 / weeks * settings.lane_eur_per_hour
    free = gb_s * WEEKS_A_MONTH / PRICES["Lambda compute x86"][REGION].free
    return [
        f"{by['lane'] / weeks:.0f} / {by['gpu'] / weeks:.0f}",
        f"{_seconds(first, 50)} / {_seconds(first, 90)}",
        _seconds(opening, 50),
        _seconds(long, 50),
        _seconds([each.whole_s for each in answered], 90),
        f"{gpu_hours:.1f}",
        f"{gpu_hours * settings.gpu_eur_per_hour:.2f}",
        f"{gb_s:,.0f}",
        f"{lane_eur:.2f}",
        f"{free:.0%}",
        str(by["expired"]),
    ]


def _seconds(values: Sequence[float], percentile: int) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f} s" if values else "none"
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return f"{cuts[percentile - 1]:.1f} s"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weeks", nargs="?", type=count, default=WEEKS)
    parser.add_argument("write", nargs="?", choices=["write"])
    args = parser.parse_args()
    asyncio.run(main(args.weeks, write=args.write == "write"))

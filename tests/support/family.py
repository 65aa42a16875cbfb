"""Which processes a process has started, and whether they are gone."""

import asyncio
import subprocess
from collections import defaultdict
from collections.abc import Iterable


def descendants(pid: int) -> dict[int, str]:
    """The arguments of all that descends from a process and lives, by pid."""
    below, found = [pid], dict[int, str]()
    children = defaultdict[int, list[int]](list)
    arguments = dict[int, str]()
    for own, parent, text in living():
        children[parent].append(own)
        arguments[own] = text
    while below:
        born = children[below.pop()]
        below += born
        found |= {each: arguments[each] for each in born}
    return found


def living() -> list[tuple[int, int, str]]:
    """(pid, parent's pid, arguments) of every process but zombies, whose parent alone can clear
    them away.
    """
    listing = subprocess.run(
        ["ps", "-axww", "-o", "pid=,ppid=,stat=,args="], text=True, capture_output=True, check=True
    )
    rows = [line.split(None, 3) for line in listing.stdout.splitlines()]
    return [
        (int(own), int(parent), "".join(rest))
        for own, parent, stat, *rest in rows
        if not stat.startswith("Z")
    ]


async def until_gone(pids: Iterable[int], timeout_s: float = 20) -> None:
    """Returns when none of these processes lives."""
    awaited = set(pids)
    async with asyncio.timeout(timeout_s):
        while left := [text for own, _, text in living() if own in awaited]:
            assert left
            await asyncio.sleep(0.05)

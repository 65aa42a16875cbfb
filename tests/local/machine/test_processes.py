"""Children start, log, are stopped, and never outlive their parent."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.signals import default_interrupts

from local.machine.ports import listening
from local.machine.processes import Process, ProcessError, Processes

pytestmark = pytest.mark.integration

PYTHON = [sys.executable, "-S", "-u", "-c"]
ROOT = Path(__file__).resolve().parents[3]

# A child that says when it is up and which signals it gets, and ends on SIGTERM alone.
TELLTALE = """
import signal, sys, time
def tell(number, frame):
    print(signal.Signals(number).name)
    if number == signal.SIGTERM: sys.exit(7)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, tell)
print("up")
while True: time.sleep(0.05)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up")
time.sleep(600)
"""
GRANDPARENT = """
import subprocess, sys
group = 0 if sys.argv[2] == "own group" else None
sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
print(subprocess.Popen([*sleeper, sys.argv[1]], process_group=group).pid)
sys.stdin.read()
"""
CRASHING = "print('first line'); print('no such thing: 42'); raise SystemExit(3)"

# A parent of its own: it starts children that carry a mark, and then waits or goes on starting
# more.
PARENT = """
import asyncio, sys
from pathlib import Path
from local.machine.processes import Processes
async def main():
    async with Processes(Path(sys.argv[1])) as procs:
        for number in range(3):
            shell = ["/bin/sh", "-c", "sleep 600 & sleep 600; true", sys.argv[2]]
            await procs.start(f"child{number}", shell)
        print("up", flush=True)
        while sys.argv[3] == "busy":
            await procs.start("more", ["/bin/sh", "-c", "sleep 600; true", sys.argv[2]])
        command = [sys.executable, "-S", "-u", "-c", sys.argv[4], sys.argv[2]]
        telltale = await procs.start("telltale", command)
        while "up" not in telltale.log.read_text(): await asyncio.sleep(0.02)
        print("all up", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


def groups_of(mark: str) -> set[int]:
    """The process groups with a living member that carries this mark in its arguments."""
    return {group for group, arguments in living() if mark in arguments}


def living() -> list[tuple[int, str]]:
    """(process group, arguments) of every process but zombies, whose parent alone can clear them
    away.
    """
    listing = subprocess.run(
        ["ps", "-axww", "-o", "pgid=,stat=,args="], text=True, capture_output=True, check=True
    )
    rows = [line.split(None, 2) for line in listing.stdout.splitlines()]
    return [
        (int(group), "".join(arguments))
        for group, state, *arguments in rows
        if not state.startswith("Z")
    ]


async def eventually(condition: Callable[[], object], timeout: float = 10.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - other processes set no asyncio event
            await asyncio.sleep(0.02)


async def until_logged(process: Process, text: str) -> None:
    await eventually(lambda: text in process.log.read_text())


@contextlib.contextmanager
def running_parent(tmp_path: Path, mark: str, mode: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "logs"), mark, mode, TELLTALE]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        default_interrupts(),
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as parent,
    ):
        try:
            yield parent
        finally:
            parent.kill()


async def until_said(parent: subprocess.Popen[str], word: str) -> None:
    assert parent.stdout is not None
    while (await asyncio.to_thread(parent.stdout.readline)).strip() != word:
        assert parent.poll() is None


async def test_a_child_starts_becomes_ready_logs_and_is_stopped_by_sigterm(tmp_path: Path):
    async with Processes(tmp_path) as procs:
        log = tmp_path / "telltale.log"

        async def up() -> bool:
            return "up" in log.read_text()

        process = await procs.start("telltale", [*PYTHON, TELLTALE], ready=up)
        assert process.returncode is None
        assert await process.stop() == 7
    assert log.read_text().split() == ["up", "SIGTERM"]


async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path):
    async with Processes(tmp_path) as procs:
        process = await procs.start("stubborn", [*PYTHON, STUBBORN])
        await until_logged(process, "up")
        assert await process.stop(grace_s=0.1) == -signal.SIGKILL


@pytest.mark.parametrize("group", ["own group", "its parent's group"])
async def test_what_a_child_started_ends_with_it(tmp_path: Path, group: str):
    mark = uuid.uuid4().hex
    async with Processes(tmp_path) as procs:
        process = await procs.start("grandparent", [*PYTHON, GRANDPARENT, mark, group])
        await process.wait()
        await eventually(lambda: not groups_of(mark))


async def test_leaving_stops_all_the_last_started_first(tmp_path: Path):
    ended: list[str] = []
    async with Processes(tmp_path) as procs:
        for name in ("first", "second", "third"):
            await procs.start(
                name, ["sleep", "600"], on_exit=lambda _, name=name: ended.append(name)
            )
    assert ended == ["third", "second", "first"]


async def test_an_error_inside_the_block_leaves_nothing_behind(tmp_path: Path):
    mark = uuid.uuid4().hex

    async def fail() -> None:
        async with Processes(tmp_path) as procs:
            await procs.start("child", ["/bin/sh", "-c", "sleep 600; true", mark])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert not groups_of(mark)


async def test_a_child_that_dies_while_starting_gives_the_tail_of_its_log(tmp_path: Path):
    async with Processes(tmp_path) as procs:
        with pytest.raises(ProcessError) as caught:
            await procs.start("crashing", [*PYTHON, CRASHING], ready=listening(1))
    assert str(caught.value).splitlines() == [
        f"crashing ended with exit code 3 while starting; the end of {tmp_path / 'crashing.log'}:",
        "    first line",
        "    no such thing: 42",
    ]


async def test_a_child_that_never_becomes_ready_is_ended_and_named(tmp_path: Path):
    async with Processes(tmp_path) as procs:
        with pytest.raises(
            ProcessError,
            match=r"mute was not ready in 0\.2 s \(Connection.*wrote nothing",
        ):
            await procs.start("mute", ["sleep", "600"], ready=listening(1), timeout=0.2)


async def test_a_command_that_does_not_exist_is_named(tmp_path: Path):
    async with Processes(tmp_path) as procs:
        with pytest.raises(
            ProcessError, match=r"(?s)exit code 127 while starting.*/no/such/command"
        ):
            await procs.start("absent", ["/no/such/command"], ready=listening(1))


async def test_the_environment_of_a_child_is_exactly_the_given_one(tmp_path: Path):
    async with Processes(tmp_path) as procs:
        process = await procs.start("env", ["/usr/bin/env"], env={"ONLY": "this one"})
        await process.wait()
    assert (tmp_path / "env.log").read_text() in (
        "ONLY=this one\n",
        "ONLY=this one\n_=/usr/bin/env\n",
    )


async def test_lines_are_delivered_in_order_and_logged_too(tmp_path: Path):
    lines: list[str] = []
    script = "import os\nfor n in range(5000): print('line', n)\nos.write(2, b'\\xff no newline')"
    async with Processes(tmp_path) as procs:
        process = await procs.start("writer", [*PYTHON, script], on_line=lines.append)
        await process.wait()
    assert lines == [*(f"line {n}" for n in range(5000)), "\ufffd no newline"]
    assert process.log.read_text(errors="replace").splitlines() == lines


async def test_drain_delivers_at_once_what_was_written(tmp_path: Path):
    lines: list[str] = []
    async with Processes(tmp_path) as procs:
        process = await procs.start(
            "writer", [*PYTHON, "print('now'); import time; time.sleep(600)"], on_line=lines.append
        )
        # The event loop does not run in here: only drain can have seen the line.
        deadline = time.monotonic() + 10
        while not lines and time.monotonic() < deadline:
            process.drain()
        assert lines == ["now"]


async def test_no_child_survives_the_kill_of_the_parent(tmp_path: Path):
    mark = uuid.uuid4().hex
    with running_parent(tmp_path, mark, "waiting") as parent:
        await until_said(parent, "all up")
        # Three shells, whose own children carry no mark, and one in Python.
        groups = groups_of(mark) - {parent.pid}
        assert len(groups) == 4
        parent.kill()
    await eventually(lambda: groups.isdisjoint(group for group, _ in living()))


async def test_no_child_survives_a_parent_killed_while_it_starts_more(tmp_path: Path):
    chance = random.Random(7)
    for _ in range(5):
        mark = uuid.uuid4().hex
        with running_parent(tmp_path, mark, "busy") as parent:
            await until_said(parent, "up")
            await asyncio.sleep(chance.random() * 0.05)
            parent.kill()
        await eventually(lambda mark=mark: not groups_of(mark))


async def test_ctrl_c_reaches_the_parent_alone_which_stops_its_children(tmp_path: Path):
    mark = uuid.uuid4().hex
    with running_parent(tmp_path, mark, "waiting") as parent:
        await until_said(parent, "all up")
        # What a terminal does: to every process of the foreground group.
        os.killpg(parent.pid, signal.SIGINT)
        await asyncio.to_thread(parent.wait, 10)
    assert not groups_of(mark)
    assert (tmp_path / "logs/telltale.log").read_text().split() == ["up", "SIGTERM"]

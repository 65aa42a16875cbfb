"""A worker between two calls: Lambda runs nothing of it."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from support import calm
from support.functions import MakeHost, call, failure
from support.watchers import until

from local.lambda_.model import LambdaApiError

pytestmark = pytest.mark.integration

# A thread counts as long as the process runs; the handler says how far it is.
COUNTS = (
    "import os, threading, time\n"
    "count = 0\n"
    "def run():\n"
    "    global count\n"
    "    while True:\n"
    "        count += 1\n"
    "        time.sleep(0.001)\n"
    "threading.Thread(target=run, daemon=True).start()\n"
    "def handler(event, context):\n"
    "    time.sleep(event)\n"
    "    return [os.getpid(), count]\n"
)


def frozen(pid: int) -> bool:
    return state_of(pid) in "Tt"


def state_of(pid: int) -> str:
    """The kernel's letter; Z when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def runs(pid: int) -> bool:
    return state_of(pid) != "Z"


async def until_frozen(pid: int) -> None:
    async with asyncio.timeout(5):
        while not frozen(pid):  # noqa: ASYNC110 - it freezes when it has asked for an event
            await asyncio.sleep(0.005)


async def test_nothing_of_a_worker_runs_between_two_calls(make_host: MakeHost):
    host = make_host(COUNTS)
    pid, before = await call(host, 0.05)
    await until_frozen(pid)
    await asyncio.sleep(0.5)
    assert await call(host, 0) == [pid, pytest.approx(before, abs=100)]
    again, after = await call(host, 0.3)
    assert again == pid
    assert after > before + 100, "and it runs again where it was"


async def test_a_started_worker_stands_still_until_its_first_call(make_host: MakeHost):
    host = make_host(COUNTS)
    await host.start()
    await asyncio.sleep(0.5)
    assert (await call(host, 0))[1] < 200


async def test_its_children_stand_still_too(make_host: MakeHost, tmp_path: Path):
    ticks = tmp_path / "ticks"
    ticks.touch()
    code = (
        "import os, subprocess, sys\n"
        'write = \'open(sys.argv[1], "a").write(".")\'\n'
        "loop = f'import sys, time\\nwhile True: time.sleep(0.01); {write}'\n"
        "def handler(event, context):\n"
        "    child = subprocess.Popen([sys.executable, '-c', loop, event])\n"
        "    return [os.getpid(), child.pid]\n"
    )
    host = make_host(code)
    parent, child = await call(host, str(ticks))
    await until_frozen(parent)
    await until_frozen(child)
    written = ticks.stat().st_size
    await asyncio.sleep(0.2)
    assert ticks.stat().st_size == written
    await host.recycle()
    assert not runs(child)


@pytest.mark.parametrize("how", ["stop", "recycle"])
async def test_a_frozen_worker_ends_at_once_when_it_is_to(make_host: MakeHost, how: str):
    host = make_host("import os\ndef handler(event, context): return os.getpid()\n")
    pid = await call(host)
    await until_frozen(pid)
    before = calm.now()
    await getattr(host, how)()
    assert calm.now() - before < 0.8, "SIGTERM has reached it, within its second of grace"
    assert not runs(pid)


@pytest.mark.parametrize("how", ["stop", "time limit", "kill"])
async def test_a_worker_that_somebody_froze_in_its_call_ends_nevertheless(
    make_host: MakeHost, tmp_path: Path, how: str
):
    code = (
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "def handler(event, context):\n"
        "    pathlib.Path(event).write_text(str(os.getpid()))\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    time.sleep(60)\n"
    )
    host, told = make_host(code, timeout_s=1.0 if how == "time limit" else 60.0), tmp_path / "pid"
    busy = asyncio.create_task(host.invoke(json.dumps(str(told)).encode()))
    async with asyncio.timeout(10):
        await until(lambda: told.exists() and told.read_text() and frozen(int(told.read_text())))
        if how == "stop":
            await host.stop()
        elif how == "kill":
            os.kill(int(told.read_text()), signal.SIGKILL)
        assert failure(await busy)["errorType"] in ("Runtime.ExitError", "Sandbox.Timedout")


async def test_a_worker_frozen_for_longer_is_thawed_by_its_next_call(make_host: MakeHost):
    host = make_host("import os\ndef handler(event, context): return os.getpid()\n")
    pid = await call(host)
    await until_frozen(pid)
    os.kill(pid, signal.SIGSTOP)
    assert await call(host) == pid


async def test_its_temporary_files_are_its_own_and_last_as_long_as_it(make_host: MakeHost):
    code = (
        "import os, pathlib, tempfile\n"
        "def handler(event, context):\n"
        "    folder = pathlib.Path(tempfile.gettempdir())\n"
        "    found = sorted(each.name for each in folder.iterdir())\n"
        "    (folder / 'weights').touch()\n"
        "    return [str(folder), found]\n"
    )
    host = make_host(code)
    folder, found = await call(host)
    assert found == []
    assert await call(host) == [folder, ["weights"]]
    await host.recycle()
    assert not await asyncio.to_thread(Path(folder).exists)
    other, found = await call(host)
    assert (found, other != folder) == ([], True)


# --- asynchronous calls ---------------------------------------------------------------------------


async def test_a_posted_event_waits_for_the_only_worker(make_host: MakeHost, tmp_path: Path):
    code = (
        "import pathlib, time\n"
        "def handler(event, context):\n"
        "    while not pathlib.Path(event).exists(): time.sleep(0.01)\n"
        "    return event\n"
    )
    host, released = make_host(code, wait_s=0.1), tmp_path / "released"
    event = json.dumps(str(released)).encode()
    calls = [asyncio.create_task(host.post(event)) for _ in range(3)]
    await asyncio.sleep(0.5)
    assert not any(each.done() for each in calls)
    released.touch()
    assert [(await each).payload for each in calls] == [event] * 3


@pytest.mark.parametrize(("retries", "tried"), [(0, 1), (2, 3)])
async def test_a_posted_event_whose_function_fails_is_tried_again_as_declared(
    make_host: MakeHost, tmp_path: Path, retries: int, tried: int
):
    code = (
        "def handler(event, context):\n"
        "    with open(event, 'a') as file: file.write(context.aws_request_id + '\\n')\n"
        "    raise ValueError('always')\n"
    )
    host, seen = make_host(code, retries=retries, retry_s=0.05), tmp_path / "seen"
    result = await host.post(json.dumps(str(seen)).encode())
    assert failure(result)["errorType"] == "ValueError"
    assert seen.read_text().splitlines() == [result.request_id] * tried


async def test_a_posted_event_that_got_too_old_is_given_up(make_host: MakeHost):
    code = "import time\ndef handler(event, context): time.sleep(event)\n"
    host = make_host(code, max_event_age_s=0.3)
    await host.start()
    busy = asyncio.create_task(host.invoke(b"1"))
    await asyncio.sleep(0.05)
    with pytest.raises(LambdaApiError) as caught:
        await host.post(b"0")
    assert caught.value.code == "TooManyRequestsException"
    await busy
    failing = make_host(
        "def handler(event, context): {}[0]\n", name="g", max_event_age_s=5.0, retry_s=60.0
    )
    async with asyncio.timeout(4):
        assert failure(await failing.post(b"0"))["errorType"] == "KeyError"


async def test_a_host_that_stops_gives_up_the_events_that_wait(make_host: MakeHost):
    host = make_host("def handler(event, context): {}[0]\n", retries=1)
    waiting = asyncio.create_task(host.post(b"0"))
    await asyncio.sleep(1)
    async with asyncio.timeout(3):
        await host.stop()
        with pytest.raises(LambdaApiError, match="the host of f has stopped"):
            await waiting

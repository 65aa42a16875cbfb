"""The node's own supervisord.conf under a real supervisord, with other programs (EC2-003)."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from configparser import RawConfigParser
from pathlib import Path

import pytest
import pytest_asyncio
from support import calm
from support.node_stack import alive
from support.watchers import until

from local.machine.processes import Process, Processes
from local.node import proxy
from local.node.supervisor import CONFIGURATION, Program
from local.node.supervisor import Supervisor as LocalSupervisor
from recording.model import ROOT
from tlfif import names
from watcher import memory
from watcher.engine import EngineRestarts
from watcher.supervisor import Supervisor, SupervisorError

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]

# An engine that hangs hears no SIGTERM, and has a process of its own.
HUNG = (
    "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); "
    "time.sleep(1000)"
)
SLEEP, FAIL = "import time; print('up', flush=True); time.sleep(1000)", "raise SystemExit(3)"
USUAL = {
    "startsecs": "startsecs = 10",
    "startretries": "startretries = 20",
    "nginx_retries": "startretries = 5",
}
LISTENER = [sys.executable, "-I", "-S", str(ROOT / "gpu_image" / "power_off.py")]


class Supervised:
    """A supervisord of the node's configuration, and the watcher's way to it."""

    def __init__(self, local: LocalSupervisor, process: Process):
        self.local, self.process = local, process
        url = f"unix://{local.folder / 'supervisor.sock'}"
        self.supervisor = Supervisor({"SUPERVISOR_SERVER_URL": url})

    def pid(self, name: str) -> int:
        return self.local.pids().get(name, 0)

    async def up(self) -> list[int]:
        """The programs' processes once they run: supervisord loses a signal sent before that."""
        logs = [self.local.folder / f"{name}.log" for name in ("vllm", "watcher")]
        await until(lambda: all(log.exists() and log.read_text() for log in logs), 20)
        return [self.pid("vllm"), self.pid("watcher")]

    def log(self) -> str:
        return self.local.log.read_text()


Supervise = Callable[..., Awaitable[Supervised]]


@pytest_asyncio.fixture
async def supervise(tmp_path: Path) -> AsyncIterator[Supervise]:
    async with Processes(tmp_path / "logs") as procs:

        async def start(
            engine: str, watcher: str, nginx: str | None = None, **changes: str
        ) -> Supervised:
            local = LocalSupervisor(folder=tmp_path, log=tmp_path / "supervisord.log")
            programs = {
                name: Program(command=[sys.executable, "-c", code], log=tmp_path / f"{name}.log")
                for name, code in (("vllm", engine), ("watcher", watcher), ("nginx", nginx))
                if code
            }
            path = local.configure(programs, LISTENER)
            text = path.read_text()
            for option, value in changes.items():
                usual = USUAL[option]
                assert usual in text
                text = text.replace(usual, f"{usual.split()[0]} = {value}")
            path.write_text(text)
            argv = [sys.executable, "-m", "supervisor.supervisord", "-c", path]
            process = await procs.start("supervisord", argv, cwd=ROOT)
            local.hurry()
            return Supervised(local, process)

        yield start


def group_of(leader: int) -> list[int]:
    """The processes of a group that run."""
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
    return [pid for pid in pids if alive(pid) and os.getpgid(pid) == leader]


async def test_an_engine_that_hangs_is_killed_with_all_its_processes_and_started_again(
    supervise: Supervise,
) -> None:
    node = await supervise(HUNG, SLEEP)
    await until(lambda: node.pid("vllm"))
    first = node.pid("vllm")
    await until(lambda: len(group_of(first)) == 2)
    begun = calm.now()
    node.supervisor.restart_engine()
    await until(lambda: node.pid("vllm") not in (0, first))
    assert calm.now() - begun < 5, "not supervisord's stopwaitsecs"
    assert not group_of(first)
    assert "watcher" not in node.log().split("spawned: 'watcher'", 1)[1], "only the engine"


async def test_an_engine_on_which_supervisord_gave_up_is_started_again(
    supervise: Supervise,
) -> None:
    node = await supervise(FAIL, SLEEP, startretries="0")
    await until(lambda: "gave up: vllm" in node.log(), 20)
    node.supervisor.restart_engine()
    await until(lambda: node.log().count("spawned: 'vllm'") == 2)
    assert node.process.returncode is None, "it is the watcher's to end the machine for that"


async def test_a_watcher_that_never_starts_ends_the_machine(supervise: Supervise) -> None:
    node = await supervise(SLEEP, FAIL, startretries="1")
    await until(lambda: node.pid("vllm"))
    engine = node.pid("vllm")
    assert await node.process.wait() == 0, "as systemd's SuccessAction wants it"
    assert node.log().count("spawned: 'watcher'") == 2
    assert "gave up: watcher" in node.log()
    assert not alive(engine)


@pytest.mark.story("EC2-005")
async def test_an_nginx_that_never_starts_harms_nobody(supervise: Supervise) -> None:
    node = await supervise(SLEEP, SLEEP, FAIL, nginx_retries="1")
    pids = await node.up()
    await until(lambda: "gave up: nginx" in node.log(), 20)
    assert node.log().count("spawned: 'nginx'") == 2
    # Two rounds of supervisord, in which the listener has had its event.
    for _ in range(2):
        node.local.hurry()
    assert [node.pid("vllm"), node.pid("watcher")] == pids
    assert node.process.returncode is None


async def test_a_watcher_may_end_the_machine(supervise: Supervise) -> None:
    node = await supervise(SLEEP, SLEEP)
    pids = await node.up()
    node.supervisor.power_off()
    assert await node.process.wait() == 0
    assert not any(alive(pid) for pid in pids)


async def test_a_supervisord_that_is_killed_takes_its_programs_along(supervise: Supervise) -> None:
    """Locally: they have groups of their own, and would otherwise outlive the local cloud."""
    node = await supervise(SLEEP, SLEEP)
    pids = await node.up()
    os.kill(node.process.pid, signal.SIGKILL)
    await node.process.wait()
    await until(lambda: not any(alive(pid) for pid in pids), 2)


def test_without_a_supervisord_it_says_so() -> None:
    with pytest.raises(SupervisorError, match="under no supervisord"):
        Supervisor({}).power_off()
    with pytest.raises(SupervisorError, match=r"supervisord at /nowhere: .*No such file"):
        Supervisor({"SUPERVISOR_SERVER_URL": "unix:///nowhere"}).power_off()


class Restarted(Supervisor):
    def __init__(self) -> None:
        super().__init__({})
        self.restarts = 0

    def restart_engine(self) -> None:
        self.restarts += 1


async def test_an_engine_is_restarted_less_and_less_until_it_answers() -> None:
    now, asked = [0.0], Restarted()
    engine = EngineRestarts(asked, clock=lambda: now[0])

    async def restarts_by(at: float) -> int:
        now[0] = at
        await engine.ask("hung")
        return asked.restarts

    assert [await restarts_by(at) for at in (0, 4, 5, 14, 15, 34, 35)] == [1, 1, 2, 2, 3, 3, 4]
    engine.answered()
    assert [await restarts_by(at) for at in (36, 40, 41)] == [5, 5, 6]


def test_the_unit_makes_the_end_of_supervisord_the_end_of_the_machine() -> None:
    unit = RawConfigParser(comment_prefixes=("#",), strict=False)
    # Keys are case-sensitive to systemd.
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "gpu_image" / "tl-fif.service")
    assert (unit["Unit"]["SuccessAction"], unit["Unit"]["FailureAction"]) == (
        "poweroff",
        "poweroff",
    )
    service = unit["Service"]
    assert service["ExecStart"].endswith(" /srv/tl-fif/gpu_image/supervisord.conf")
    assert (service["Restart"], service["KillMode"]) == ("no", "mixed")
    assert f" {memory.FOLDER}" in service["ExecStartPre"]
    assert service["RuntimeMaxSec"] == f"{names.MAX_LIFETIME_HOURS + 1}h"
    conf = RawConfigParser()
    conf.read(CONFIGURATION)
    stops_s = sum(
        conf.getint(section, "stopwaitsecs")
        for section in conf.sections()
        if section.startswith("program:")
    )
    assert stops_s < int(service["TimeoutStopSec"]), "or systemd kills what still finishes a job"


@pytest.mark.story("EC2-005")
def test_nginx_is_given_up_in_bounded_time_and_stops_first() -> None:
    conf = RawConfigParser()
    conf.read(CONFIGURATION)
    section = conf["program:nginx"]
    priorities = {name: conf.getint(name, "priority", fallback=0) for name in conf.sections()}
    assert max(priorities, key=lambda name: priorities[name]) == "program:nginx"
    assert section.getint("startretries") <= 5
    assert section.getint("stopwaitsecs") <= 2, "the watcher waits for that"
    *_, certificate, nginx_, option, path = section["command"].split()
    assert (nginx_, option, path) == ("/usr/sbin/nginx", "-c", "/srv/tl-fif/gpu_image/nginx.conf")
    assert proxy.CONFIGURATION.read_text().count(f" {certificate};") == 2, (
        "the certificate that is made is the one used"
    )


def test_the_watchers_user_may_use_the_socket() -> None:
    conf = RawConfigParser()
    conf.read(CONFIGURATION)
    user = conf["program:watcher"]["user"]
    assert conf["program:vllm"]["user"] == user, "it may kill the engine"
    assert conf["unix_http_server"]["chown"].split(":")[0] == user


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd's tools")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "gpu_image" / "tl-fif.service").read_text()
    unit = tmp_path / "tl-fif.service"
    # The programs are the image's.
    unit.write_text(re.sub(r"^(Exec\w+)=.*$", r"\1=/bin/true", text, flags=re.M))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

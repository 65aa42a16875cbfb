"""`python -m local …` as people run it: in a changed copy of the project, beside another cloud, and
interrupted.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from support.family import descendants, until_gone
from support.signals import default_interrupts
from support.users import LONG, WAIT_S, User, signed_in, using

from local.cloud import LocalCloud
from local.machine.ports import listen

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

ROOT = Path(__file__).resolve().parents[3]
NOT_COPIED = (".git", ".venv", ".cache", "dist", "tests", "__pycache__")
INTERRUPTED = 130


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project to change; what is built and downloaded is shared."""
    copy = tmp_path / "project"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for name in (".cache", "dist"):
        (copy / name).symlink_to(ROOT / name)
    return copy


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (
        f"{path.name} has changed: {old!r} is there {text.count(old)} times"
    )
    path.write_text(text.replace(old, new))


class Command:
    """A running `python -m local …`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.output = ""

    @property
    def family(self) -> dict[int, str]:
        return descendants(self._process.pid)

    async def says(self, pattern: str) -> re.Match[str]:
        """Waits for a line of its output; fails with all of the output when there is none."""
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            while line := (await self._process.stdout.readline()).decode():
                self.output += line
                if found := re.search(pattern, line):
                    return found
        raise AssertionError(f"it never said {pattern!r} but:\n{self.output}")

    async def ends(self, number: signal.Signals | None = None) -> int:
        """Its exit code, after a signal perhaps; the rest of its output is read."""
        if number is not None:
            self._process.send_signal(number)
        assert self._process.stdout is not None
        async with asyncio.timeout(WAIT_S):
            self.output += (await self._process.stdout.read()).decode()
            return await self._process.wait()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self.ends()


@asynccontextmanager
async def command(*arguments: str, project: Path, tmp_path: Path) -> AsyncIterator[Command]:
    """Runs one until the block ends."""
    with default_interrupts():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "local", *arguments),
            cwd=project,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    running = Command(process)
    try:
        yield running
    finally:
        await running.kill()


async def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with listen(0, "this test") as taken:
        port = str(taken.getsockname()[1])
        async with command(
            "demo", "--port", port, "--", "Hi", project=ROOT, tmp_path=tmp_path
        ) as demo:
            assert await demo.ends() == 1
    needs = "the local gateway needs it: choose another with --port"
    assert demo.output == f"tl-fif: port {port} is taken, and {needs}\n"


async def test_a_function_has_only_the_environment_that_the_program_declares(
    project: Path, tmp_path: Path
) -> None:
    without = "{k: v for k, v in self._variables().items() if k != 'TLFIF_REPLIES_BUCKET'}"
    change(project / "components/router.py", "**self._variables()", f"**{without}")
    async with command("demo", "--", "Hi", project=project, tmp_path=tmp_path) as demo:
        assert await demo.ends() == 1
    assert "function error: 'TLFIF_REPLIES_BUCKET'" in demo.output


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)]
)
async def test_an_interrupted_demo_leaves_no_process_behind(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    async with command("demo", "--", LONG, project=ROOT, tmp_path=tmp_path) as demo:
        await demo.says("node (loading|ready)")
        family = demo.family
        for part in (
            "local.node.model_server",
            "-m watcher",
            "cpu_worker.llama",
            "moto",
            "valkey",
            "awslambdaric",
            "reaper",
        ):
            assert any(part in arguments for arguments in family.values()), part
        assert await demo.ends(number) == code
        await until_gone(family)
    if number is signal.SIGINT:
        assert demo.output.endswith("\ntl-fif: stopped; nothing is left running\n")


async def test_a_second_cloud_with_a_changed_route_runs_beside_the_first(
    cloud: LocalCloud, project: Path, tmp_path: Path
) -> None:
    change(project / "openapi.yaml", "\n  /ping:\n", "\n  /hello:\n")
    change(project / "openapi.yaml", """'{"status":"ok"}'""", """'{"status":"hello"}'""")
    async with command("up", project=project, tmp_path=tmp_path) as up:
        vpc_url = (await up.says(r"in VPC +(\S+)"))[1]
        api_url, token = (await up.says("TLFIF_API=(.+) TLFIF_TOKEN=(.+)")).groups()
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{vpc_url}/hello")).json() == {"status": "hello"}
            assert (await http.get(f"{vpc_url}/ping")).status_code == 404
            assert (await http.get(f"{cloud.vpc_url}/ping")).json() == {"status": "ok"}
            assert (await http.get(f"{cloud.vpc_url}/hello")).status_code == 404
        async with signed_in(cloud) as ada, using(api_url, token) as bob:
            assert await asyncio.gather(answered(ada), answered(bob)) == ["done", "done"]
        family = up.family
        assert await up.ends(signal.SIGTERM) == INTERRUPTED
        await until_gone(family)


async def answered(user: User) -> str:
    return (await user.final(await user.infer()))["status"]

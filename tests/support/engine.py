"""A stack under Pulumi's own engine, with moto and a queue of its own."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from support.calls import REGION

from local.aws.moto import Moto, start_moto
from local.deployment.backend import bake
from local.deployment.provider.cloud import CloudFile
from local.engine.cli import Done, Workspace, find_engine
from local.engine.deployment import read_state
from local.machine.processes import Processes
from local.machine.valkey import start_valkey
from recording.model import Recording

# Where forks are asked for, and the runner that one in a program's place takes.
FORKS, RUNNER = "TLFIF_FORKS", "TLFIF_FORKED_RUNNER"
FORKED = Path(__file__).parent / "forked.py"
# The state is written when all is done; of a step each, most of a command's time is spent so.
AT_ONCE = "PULUMI_EXPERIMENTAL=true PULUMI_SKIP_CHECKPOINTS=true"
API_URL = "http://127.0.0.1:9/v1"

needs_engine = pytest.mark.skipif(
    find_engine() is None, reason="there is no pulumi on PATH and `make engine` has built none"
)


@dataclass(frozen=True, kw_only=True)
class Site:
    """One stack's workspace and the moto it deploys to; every command is that of the real CLI."""

    stack: str
    moto: Moto
    workspace: Workspace

    async def configure(self, config: Mapping[str, Any] | None = None) -> None:
        """Sets the stack's configuration to the project's, with single keys set otherwise."""
        await asyncio.to_thread(self.workspace.select, self.stack, config)

    async def run(self, *words: str, cwd: Path | None = None) -> Done:
        """Runs a command to its end, whatever that is."""
        command = (*words, "--stack", self.stack)
        return await asyncio.to_thread(lambda: self.workspace.run(*command, cwd=cwd))

    async def do(self, *words: str) -> Done:
        """Runs a command that must succeed."""
        done = await self.run(*words)
        assert done.code == 0, f"pulumi {' '.join(words)}:\n{done.output}"
        return done

    async def steps(self) -> dict[str, str]:
        """What the next `up` would do, by the resource's name: create, update, replace, delete."""
        done = await self.do("preview", "--json")
        steps = json.loads(done.output[done.output.index("{") :])["steps"]
        return {_name(each["urn"]): each["op"] for each in steps if each["op"] != "same"}

    async def state(self) -> dict[str, Any]:
        """The exported state, secrets as they are stored."""
        return json.loads((await self.do("stack", "export")).output)

    async def recording(self) -> Recording:
        """What the state has, as a recording."""
        return read_state(self.stack, await self.state())


@asynccontextmanager
async def site(
    stack: str, folder: Path, *, project: Path | None = None, forked: bool = True
) -> AsyncIterator[Site]:
    """An empty cloud, its image baked, and the stack's workspace; the program and its plugins are
    `forked` from a process that has read them, and the state is written once a command; or all is
    as everywhere.
    """
    async with Processes(folder) as procs:
        moto, valkey = await asyncio.gather(start_moto(procs, REGION), start_valkey(procs))
        await asyncio.to_thread(bake, moto, stack)
        file = folder / "cloud.json"
        CloudFile(
            stack=stack,
            region=REGION,
            moto_url=moto.url,
            queue_host=valkey.host,
            queue_port=valkey.port,
            queue_password=valkey.server.password,
            api_url=API_URL,
        ).write(file)
        where = {"project": project} if project else {}
        workspace = Workspace(folder=folder / "pulumi", cloud=file, **where)
        workspace.prepare()
        if forked:
            fork(workspace)
        yield Site(stack=stack, moto=moto, workspace=workspace)


def fork(workspace: Workspace) -> None:
    """Has program and plugins forked, and the state written once a command."""
    for script in (workspace.folder / "bin").iterdir():
        started = re.search(r" -m (\S+) ", script.read_text())
        assert started is not None
        module = started[1] + (".__main__" if "provider" in started[1] else "")
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS {FORKED} -m {module} "$@"\n')
    pulumi = workspace.folder / "bin" / "pulumi"
    pulumi.write_text(f'#!/bin/sh\n{AT_ONCE} exec "{workspace.engine.pulumi}" "$@"\n')
    pulumi.chmod(0o755)
    runner = FORKED if workspace.engine.runner else None
    workspace.engine = replace(workspace.engine, pulumi=pulumi, runner=runner)


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def lines(done: Done, *words: str) -> Sequence[str]:
    """The lines of a command's output that contain all of these words."""
    return [line for line in done.output.splitlines() if all(word in line for word in words)]

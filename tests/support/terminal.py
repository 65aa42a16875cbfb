"""An operator's terminal: one shell session in which the blocks of a page are run as they stand, by
the real Pulumi and AWS's CLI, against a running local cloud.
"""

import asyncio
import os
import re
import shlex
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from support.engine import fork
from support.pages import Block

from local.cloud import LocalCloud
from local.engine.cli import Workspace
from local.engine.deployment import read_state
from recording.model import Recording
from recording.shipped import stack_file
from tools import aws_cli

# No command of a page takes so long here.
PATIENCE_S = 240
# What a person confirms after having read what it will do; `stack rm` asks for the stack's name.
_PULUMI = """#!/bin/sh
case "$1 $2" in
  up\\ *|destroy\\ *) set -- "$@" --yes --skip-preview ;;
  refresh\\ *|"stack rm"|"state delete") set -- "$@" --yes ;;
esac
exec {engine} --non-interactive --color=never "$@"
"""
# The session goes on where the last block has ended: its folder and what it exported.
_BLOCK = """set -eo pipefail
[ ! -f {session} ] || . {session}
{text}
export -p > {session}
"""
_DEPLOYS = re.compile(r"\bpulumi (up|destroy)\b")
# What asks the stack itself something; before that, the local cloud has to run what was deployed.
_USES = re.compile(r"gui\.client|\bcurl |\bmake (deploy|smoke|unlatch)$", re.MULTILINE)


class PageError(AssertionError):
    """What a page says did not work; the message has the place, and the last words."""


@dataclass(kw_only=True)
class Terminal:
    """`await terminal.run(block)`: what it printed. `said` is everything, by block."""

    cloud: LocalCloud
    workspace: Workspace
    session: Path
    stack: str
    said: dict[str, str] = field(default_factory=dict)
    _outdated: bool = False

    async def run(self, block: Block, typed: str = "") -> str:
        """Runs a block; `typed` is what the person types. Raises PageError."""
        assert block.runs, block.where
        if self._outdated and _USES.search(block.text):
            await self.catch_up()
        code, output = await self._run(block.text, typed)
        self.said[block.where] = output
        if code:
            raise PageError(f"{block.where} ended with {code}:\n{block.text}\n{output[-3000:]}")
        self._outdated = self._outdated or bool(_DEPLOYS.search(block.text))
        return output

    async def answer(self, command: str) -> str:
        """What another command says in the same session, which it leaves as it is."""
        code, output = await self._run(f"({command})", "")
        if code:
            raise PageError(f"{command} ended with {code}:\n{output[-3000:]}")
        return output.strip()

    async def _run(self, text: str, typed: str) -> tuple[int, str]:
        script = _BLOCK.format(session=shlex.quote(str(self.session)), text=text)
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            script,
            cwd=self.workspace.copy,
            env=self._environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                output, _ = await process.communicate(typed.encode())
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode or 0, output.decode(errors="replace")

    def _environment(self) -> dict[str, str]:
        """A new operator's: none of Pulumi's settings but those that keep it on this machine."""
        cloud, mine = self.cloud, self.workspace.environment()
        for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"):
            del mine[name]
        paths = (self.session.parent / "bin", aws_cli.FOLDER / "path", mine["PATH"])
        return {
            **mine,
            "PATH": os.pathsep.join(map(str, paths)),
            "HOME": str(self.session.parent / "home"),
            "AWS_ENDPOINT_URL": cloud.endpoint.url,
            "AWS_ACCESS_KEY_ID": cloud.endpoint.operator.access_key,
            "AWS_SECRET_ACCESS_KEY": cloud.endpoint.operator.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
            # The functions run on this machine, and the canary's minutes are seconds.
            "TLFIF_BUNDLE_TARGET": "host",
            "TLFIF_SECONDS_PER_MINUTE": "1",
            "NO_PROXY": "*",
        }

    async def recording(self) -> Recording:
        """What is deployed, by the state that the operator keeps."""
        exported = await self.answer(f"pulumi stack export --stack {self.stack} --show-secrets")
        return read_state(self.stack, yaml.safe_load(exported))

    async def catch_up(self) -> None:
        """Has the local cloud run what was deployed, as AWS does by itself."""
        await self.cloud.adopt(await self.recording(), calls=True)
        self._outdated = False


@asynccontextmanager
async def terminal(
    cloud: LocalCloud, stack: str, config: Mapping[str, object]
) -> AsyncIterator[Terminal]:
    """A new operator's terminal before an account that is empty. The stack's file is the project's,
    with `config` over it: which weights this machine has.
    """
    await asyncio.to_thread(aws_cli.prepare)
    with tempfile.TemporaryDirectory(prefix="tl-fif-operator-") as name:
        folder = Path(name)
        for each in ("home", "bin"):
            (folder / each).mkdir()
        file = folder / "cloud.json"
        cloud.described.write(file)
        workspace = Workspace(folder=folder / "pulumi", cloud=file)
        workspace.prepare()
        fork(workspace)
        own = stack_file(stack, workspace.project)
        settings = yaml.safe_load(own.read_text())
        settings["config"] |= config
        (workspace.copy / own.name).write_text(yaml.safe_dump(settings, sort_keys=False))
        pulumi = folder / "bin" / "pulumi"
        pulumi.write_text(_PULUMI.format(engine=workspace.engine.pulumi))
        pulumi.chmod(0o755)
        session = folder / "session"
        yield Terminal(cloud=cloud, workspace=workspace, session=session, stack=stack)

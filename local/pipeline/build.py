"""One build, as CodeBuild runs it: the phases of a buildspec, in a folder that has the source."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.machine.processes import Processes
from local.pipeline.buildspec import PHASES, Buildspec, Phase

SUCCEEDED, FAILED, TIMED_OUT = "Succeeded", "Failed", "TimedOut"
SUCCEEDING = "CODEBUILD_BUILD_SUCCEEDING"
# A command begins with the environment and in the folder that the last one left, also when that
# ended its shell. Variables that no command exports are its own.
_STEP = """
_state=$1
trap '_code=$?; export -p >"$_state/environment"; pwd >"$_state/folder"; exit $_code' EXIT
[ ! -f "$_state/environment" ] || { . "$_state/environment"; cd "$(cat "$_state/folder")"; }
. "$_state/succeeding"
. "$_state/command"
"""
# What a shell's environment is written as: a name, a value, each with an end that none contains.
_SHOW = """
. "$1/environment"
for _name in $2; do eval "printf '%s\\0' \\"\\${$_name-}\\""; done
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a build ended: `why` names the command that failed; `exported` is what it hands on."""

    status: str
    why: str = ""
    seconds: float = 0
    exported: Mapping[str, str] = field(default_factory=dict)


class Build:
    """`await build.run(…)`: install, pre_build, build, post_build.

    A failure of the first two ends the build; after a failure of build, post_build runs and is told
    so, unless the phase says `on-failure: ABORT`.
    """

    def __init__(
        self,
        procs: Processes,
        name: str,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        """`folder` is the build's own: it holds what one command leaves to the next."""
        self._procs, self._name, self._folder, self._say = procs, name, folder, say
        self._succeeding = True
        self._why = ""
        folder.mkdir(parents=True)

    async def run(
        self, spec: Buildspec, source: Path, environment: Mapping[str, str], timeout_s: float
    ) -> Outcome:
        """Runs the phases in `source`; `environment` is all that the commands get."""
        began = time.monotonic()
        given = {**spec.env.variables, **environment}
        try:
            async with asyncio.timeout(timeout_s):
                await self._phases(spec, source, given)
                exported = await self._exported(spec, source, given)
        except TimeoutError:
            why = f"after {timeout_s / 60:g} min it was not done"
            return Outcome(status=TIMED_OUT, why=why, seconds=time.monotonic() - began)
        return Outcome(
            status=SUCCEEDED if self._succeeding else FAILED,
            why=self._why,
            seconds=time.monotonic() - began,
            exported=exported,
        )

    async def _phases(self, spec: Buildspec, source: Path, given: Mapping[str, str]) -> None:
        for name in PHASES:
            phase: Phase | None = getattr(spec.phases, name)
            if phase is None:
                continue
            done = await self._all(spec, source, given, phase.commands, name)
            done &= await self._all(spec, source, given, phase.finally_, f"{name}, finally")
            if not done and (name != "build" or phase.on_failure):
                return

    async def _all(
        self,
        spec: Buildspec,
        source: Path,
        given: Mapping[str, str],
        commands: Sequence[str],
        phase: str,
    ) -> bool:
        """Runs commands up to the first that fails."""
        for command in commands:
            code = await self._command(spec, source, given, command)
            if code:
                first = command.strip().splitlines()[0]
                self._why = self._why or f"{phase}: `{first}` ended with {code}"
                self._succeeding = False
                return False
        return True

    async def _command(
        self, spec: Buildspec, source: Path, given: Mapping[str, str], command: str
    ) -> int:
        (self._folder / "command").write_text(command + "\n")
        succeeding = f"export {SUCCEEDING}={int(self._succeeding)}\n"
        (self._folder / "succeeding").write_text(succeeding)
        return await self._shell(spec, source, given, _STEP, self._say)

    async def _exported(
        self, spec: Buildspec, source: Path, given: Mapping[str, str]
    ) -> dict[str, str]:
        """The exported variables, as the last command left them; those without a value are empty,
        as in CodeBuild.
        """
        names = spec.env.exported_variables
        if not names or not (self._folder / "environment").exists():
            return {}
        lines: list[str] = []
        await self._shell(spec, source, given, _SHOW, lines.append, " ".join(names))
        values = "\n".join(lines).split("\0")
        return dict(zip(names, values, strict=False))

    async def _shell(
        self,
        spec: Buildspec,
        source: Path,
        given: Mapping[str, str],
        script: str,
        say: Callable[[str], None],
        *more: str,
    ) -> int:
        argv = [spec.env.shell, "-c", script, self._name, self._folder, *more]
        child = await self._procs.start(self._name, argv, env=dict(given), cwd=source, on_line=say)
        try:
            return await child.wait()
        except asyncio.CancelledError:
            await child.stop()
            raise

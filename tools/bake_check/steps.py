"""Runs a document's steps in a root, in order, as AWSTOE runs them on a builder."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tools.bake_check.document import Step, fill
from tools.bake_check.root import Root

Did = Literal["ran", "skipped", "stand-in"]
# AWSTOE's name for the file that an ExecuteBash step becomes.
SCRIPT = "/var/tmp/input.sh"


class StepError(RuntimeError):
    """A step failed; the message is its name, how it ended, and the last of its output."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a step; `note` says why it was not run, or what ran instead."""

    step: Step
    did: Did
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Instead:
    """Why a step does not run here, and what does instead, if anything."""

    why: str
    run: Callable[[], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Steps run in `root`; `bucket` is the folder whose files s3://any/ serves;
    each step's output is in `logs`, and its time limit counts `slower` times."""

    root: Root
    bucket: Path
    values: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    logs: Path
    slower: float = 1

    def run(self, steps: Sequence[Step], instead: Mapping[str, Instead]) -> list[Outcome]:
        """Runs them until one fails. Raises StepError and DocumentError."""
        return [self._run_one(step, instead.get(step.name)) for step in steps]

    def _run_one(self, step: Step, other: Instead | None) -> Outcome:
        began = time.monotonic()
        did: Did = "ran"
        if other is None:
            self._act(fill(step, self.values))
        elif other.run is None:
            did = "skipped"
        else:
            did = "stand-in"
            other.run()
        seconds, note = time.monotonic() - began, other.why if other else ""
        outcome = Outcome(step=step, did=did, seconds=seconds, note=note)
        print(line(outcome), flush=True)
        return outcome

    def _act(self, step: Step) -> None:
        act = {"ExecuteBash": self._bash, "CreateFile": self._create, "S3Download": self._copy}
        for attempt in range(1, step.attempts + 1):
            try:
                act[step.action](step)
                return
            except StepError:
                if attempt == step.attempts:
                    raise
            except OSError as error:
                if attempt == step.attempts:
                    raise StepError(f"{step.name}: {error}") from error

    def _bash(self, step: Step) -> None:
        (self.root.path / SCRIPT[1:]).write_text(step.script)
        path = self.logs / f"{step.name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                self.root.command(["/bin/bash", SCRIPT]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.root.environment(self.environment),
                start_new_session=True,
            )
            try:
                code = process.wait(step.timeout_s * self.slower)
                ending = f"exit {code}" if code else ""
            except subprocess.TimeoutExpired:
                ending = f"not done after {step.timeout_s * self.slower:g} s"
            finally:
                _end_group(process)
        if ending:
            said = path.read_text(errors="replace").strip().splitlines()[-20:]
            raise StepError(f"{step.name}: {ending}\n" + "\n".join(said))

    def _create(self, step: Step) -> None:
        for each in step.inputs:
            path = self.root.path / each["path"][1:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(each.get("content", ""))
            path.chmod(int(each.get("permissions", "0644"), 8))

    def _copy(self, step: Step) -> None:
        for each in step.inputs:
            key = each["source"].removeprefix("s3://").partition("/")[2]
            shutil.copy(self.bucket / key, self.root.path / each["destination"][1:])


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """What a step left running ends with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def line(outcome: Outcome) -> str:
    """One line of the report."""
    seconds = f"{outcome.seconds:6.1f} s" if outcome.did != "skipped" else "       -"
    note = f"  ({outcome.note})" if outcome.note else ""
    return f"  {outcome.step.name:18} {outcome.did:9} {seconds} of {outcome.step.budget_s:3g}{note}"

"""A stack as it was at another git revision: evaluated by that revision's own code."""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from recording.model import ROOT, Recording, Resource
from recording.shipped import stack_file

# Runs in another revision's folder.
DRIVER = """
import dataclasses, importlib, json, pathlib, sys
evaluate = importlib.import_module(sys.argv[3]).evaluate
recording = dataclasses.asdict(evaluate(sys.argv[1]))
pathlib.Path(sys.argv[2]).write_text(json.dumps(recording, sort_keys=True))
"""
# Where `evaluate` is, in this revision and before the house was rebuilt.
EVALUATORS = ("recording.evaluate", "local.recording")


class RevisionError(RuntimeError):
    """A revision cannot be evaluated; the message says why and what to do."""


@contextmanager
def evaluating(stack: str, ref: str, root: Path = ROOT) -> Iterator["Evaluation"]:
    """Evaluates the stack as it was at `ref`, in a process of its own; `result()` waits for it.

    Raises RevisionError.
    """
    if ref.startswith("-"):
        # Git would take it for an option, and some of those run programs.
        raise RevisionError(f"{ref!r} is no revision; name a branch, a tag or a commit")
    with tempfile.TemporaryDirectory(prefix="tl-fif-") as folder:
        tree = _git(root, "archive", "--format=tar", ref)
        with tarfile.open(fileobj=BytesIO(tree)) as archive:
            archive.extractall(folder, filter="data")
        evaluation = Evaluation(stack, ref, Path(folder))
        try:
            yield evaluation
        finally:
            evaluation.stop()


class Evaluation:
    """One evaluation at work in the folder of another revision."""

    def __init__(self, stack: str, ref: str, folder: Path) -> None:
        self._stack, self._ref, self._folder = stack, ref, folder
        self._result = folder / "recording.json"
        self._process = None if self._is_new() else self._start()

    def _is_new(self) -> bool:
        """Whether there was no such stack then: all of it is an addition."""
        there = self._folder / stack_file(self._stack).relative_to(ROOT)
        return not (there if there.parent.is_dir() else self._folder / there.name).exists()

    def _start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-B", "-c", DRIVER]
        command += [self._stack, str(self._result), self._evaluator()]
        # Its own modules, not this checkout's.
        environ = {name: each for name, each in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.Popen(
            command, cwd=self._folder, env=environ, text=True, stderr=subprocess.PIPE
        )

    def _evaluator(self) -> str:
        for module in EVALUATORS:
            if (self._folder / f"{module.replace('.', '/')}.py").exists():
                return module
        missing = f"it has no {EVALUATORS[-1]}"
        raise RevisionError(f"{self._ref} is older than recordings ({missing}): name a later one")

    def stop(self) -> None:
        """Ends the process, if it is still at work: the evaluation it is compared with may have
        failed.
        """
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def result(self) -> Recording:
        """What the stack was, empty if it was not there yet. Raises RevisionError."""
        if self._process is None:
            return Recording(stack=self._stack, resources=[], outputs={})
        _, errors = self._process.communicate()
        if self._process.returncode:
            last = (errors.strip().splitlines() or [f"exit code {self._process.returncode}"])[-1]
            raise RevisionError(f"{self._stack} at {self._ref} cannot be evaluated: {last}")
        return loaded(json.loads(self._result.read_text()))


def loaded(data: Mapping[str, Any]) -> Recording:
    """A recording out of its JSON, whatever fields another revision's has besides, or not yet."""
    known = Resource.__dataclass_fields__
    resources = [
        Resource(**{name: value for name, value in each.items() if name in known})
        for each in data["resources"]
    ]
    outputs = dict(data["outputs"])
    # The bill was an output once.
    bill = outputs.pop("cost_lines", data.get("bill", []))
    return Recording(stack=data["stack"], resources=resources, outputs=outputs, bill=bill)


def _git(root: Path, *arguments: str) -> bytes:
    done = git_run(root, *arguments)
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise RevisionError(f"git {arguments[0]}: {said}")
    return done.stdout


def git_command(folder: Path, *arguments: str) -> list[str]:
    """The git command in a folder. A checkout may belong to another user than the one who runs
    this, in a build's container for instance, and git refuses such a one unless it is told.
    """
    return ["git", "-c", "safe.directory=*", "-C", str(folder), *arguments]


def git_run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """What git says. Raises OSError where there is no git; whether it failed is the return code."""
    return subprocess.run(git_command(folder, *arguments), capture_output=True, check=False)

"""`make workflows`: what actionlint and zizmor find in .github/, without asking anybody."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from recording.model import ROOT

MODULE = Path(__file__).resolve().parent
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint"


class WorkflowsError(RuntimeError):
    """A judge is missing; the message says how to have it."""


def actionlint() -> list[str]:
    """The command of the pinned actionlint; Go builds it once. Raises WorkflowsError."""
    go = shutil.which("go")
    if go is None:
        raise WorkflowsError("actionlint is built from its Go module, and there is no Go here")
    # Where Go keeps what it built; the module's own sums say what it may be built from.
    built = ROOT / ".cache" / "workflows" / "actionlint"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    done = subprocess.run(
        [go, "build", "-trimpath", "-o", str(built), ACTIONLINT],
        cwd=MODULE, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [""]
        raise WorkflowsError(f"actionlint could not be built: {last[0]}")
    # Scripts within the workflows are shellcheck's matter, which is in the environment on x86_64;
    # without it they are not judged.
    shellcheck = Path(sys.executable).parent / "shellcheck"
    judge = str(shellcheck) if shellcheck.exists() else ""
    return [str(built), "-no-color", "-oneline", f"-shellcheck={judge}", "-pyflakes="]


def zizmor() -> list[str]:
    """The command of the pinned zizmor, which asks nobody. Raises WorkflowsError."""
    program = Path(sys.executable).parent / "zizmor"
    if not program.exists():
        raise WorkflowsError("zizmor is not in .venv: `make setup-dev` installs it")
    return [str(program), "--offline", "--no-progress", "--persona", "auditor", "--format", "plain"]


def found(command: list[str], *paths: str, folder: Path = ROOT) -> str:
    """What one judge says of a folder's workflows; nothing if it finds nothing."""
    done = subprocess.run([*command, *paths], cwd=folder, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()


def main() -> int:
    """0 if both find nothing, else 1 and what they say."""
    try:
        said = [found(actionlint()), found(zizmor(), ".github")]
    except WorkflowsError as error:
        said = [f"workflows: {error}"]
    for text in filter(None, said):
        print(text, file=sys.stderr)
    return 1 if any(said) else 0


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    sys.exit(main())

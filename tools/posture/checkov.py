"""checkov in an environment of its own: its pins and ours do not go together."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recording.model import ROOT

PINS = Path(__file__).parent / "requirements.txt"
_CACHE = ROOT / ".cache" / "posture"
_PROGRAM = "bin/checkov"
# Its policies are in the package; whatever it would like to send or to fetch, it may not.
_PRIVATE = ("AWS_", "BC_", "CKV_", "CHECKOV_", "PRISMA_", "GITHUB_", "LOG_LEVEL")


class CheckovError(RuntimeError):
    """checkov could not be installed, or did not judge; the message has its last words."""


def install() -> Path:
    """checkov of the pinned version, installed at the first call for each set of pins and Python.

    Raises CheckovError, with nothing left behind.
    """
    key = hashlib.sha256(PINS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    made = _CACHE / key
    if not (made / _PROGRAM).exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE, prefix=".making-") as scratch:
            _make(Path(scratch) / key)
            if not made.exists():
                (Path(scratch) / key).rename(made)
    return made / _PROGRAM


def _make(folder: Path) -> None:
    uv = [sys.executable, "-m", "uv"]
    _run(*uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    _run(*uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(PINS))
    _run(str(folder / _PROGRAM), "--version")


def judge(program: Path, plans: Mapping[str, Any]) -> Any:
    """checkov's report on plans by stack, as JSON; asks nobody.

    Raises CheckovError where it says none.
    """
    with tempfile.TemporaryDirectory() as folder:
        files: list[str] = []
        for stack, plan in plans.items():
            file = Path(folder) / f"{stack}.json"
            file.write_text(json.dumps(plan))
            files += ["-f", file.name]
        options = ("--output", "json", "--quiet", "--compact", "--skip-download", "--soft-fail")
        said = _run(
            str(program), "--framework", "terraform_plan", *options, *files,
            cwd=folder, env={**_environment(), "HOME": folder},
        )  # fmt: skip
    try:
        return json.loads(said)
    except ValueError:
        raise CheckovError(f"checkov said no JSON: {said[-300:]}") from None


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith(_PRIVATE)}


def _run(*argv: str, cwd: str | None = None, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env=env)
    if done.returncode:
        last = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        what = f"{Path(argv[0]).name} {' '.join(argv[1:4])}"
        raise CheckovError(f"{what} failed: {last[-1].strip() if last else done.returncode}")
    return done.stdout

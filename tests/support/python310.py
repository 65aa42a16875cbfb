"""A Python 3.10 with the node's packages, as /srv/tl-fif/watcher on the node has them."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recording.model import ROOT

REQUIREMENTS = ROOT / "gpu_image" / "requirements.txt"
PYENV = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
INSTALL_TIMEOUT_S = 300


def interpreter() -> Path:
    """Its python, in an environment that is made once for each set of requirements; skips the test
    where there is no Python 3.10, or no way to install into it.
    """
    base = bare()
    if base is None:
        pytest.skip("no Python 3.10 here, as on the node (Ubuntu: python3.10; or pyenv, uv)")
    known = hashlib.sha256(f"{base}\n{REQUIREMENTS.read_text()}".encode()).hexdigest()[:12]
    target = ROOT / ".cache" / f"python310-{known}"
    python = target / "bin" / "python"
    if not python.exists():
        # Several test processes may do this at once; whoever renames first has made it.
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        try:
            _install(base, partial)
            partial.rename(target)
        except OSError:
            if not python.exists():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return python


def bare() -> str | None:
    """A Python 3.10 without any packages, or None."""
    candidates = [str(each) for each in sorted(PYENV.glob("versions/3.10.*/bin/python3.10"))]
    for candidate in ("python3.10", *reversed(candidates)):
        if path := _real(candidate):
            return path
    asked = subprocess.run(
        [*_uv("python", "find"), "--no-python-downloads", "3.10"], capture_output=True, text=True
    )
    return asked.stdout.strip() or None


def _real(command: str) -> str | None:
    """Where this interpreter really is; a shim of pyenv's may stand for nothing."""
    try:
        asked = subprocess.run(
            [command, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True
        )
    except OSError:
        return None
    return asked.stdout.strip() or None


def _install(base: str, target: Path) -> None:
    _run(*_uv("venv"), "--quiet", "--relocatable", "--python", base, str(target))
    python = str(target / "bin" / "python")
    _run(*_uv("pip", "install"), "--quiet", "--python", python, "-r", str(REQUIREMENTS))


def _uv(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "uv", *arguments]


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        pytest.skip(f"the node's packages cannot be installed: {last}")

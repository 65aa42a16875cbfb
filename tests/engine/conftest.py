"""What Pulumi starts is forked from one process that has read all of it, unless a test says
otherwise.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engine import FORKS, RUNNER

from local.engine.cli import find_engine
from recording.model import ROOT


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[None]:
    """Serves the forks of this worker's engines; these find it by the environment."""
    engine = find_engine()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forks"
        patch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
        command = [sys.executable, "-m", "support.forks", path]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            patch.setenv(FORKS, str(path))
            patch.setenv(RUNNER, str(engine.runner) if engine else "")
            yield
            process.terminate()

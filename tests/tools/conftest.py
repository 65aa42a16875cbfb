"""What the tests of the house itself look at."""

import subprocess

import pytest

from recording.model import ROOT


@pytest.fixture(scope="session")
def tracked() -> list[str]:
    """Every file that belongs to the repository, by its path from the root."""
    # A checkout may belong to another user than the one who tests.
    git = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.splitlines()

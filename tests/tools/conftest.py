"""What the tests of the house itself look at."""

import pytest

from recording import revision
from recording.model import ROOT


@pytest.fixture(scope="session")
def tracked() -> list[str]:
    """Every file that belongs to the repository, by its path from the root."""
    listed = revision.git_run(ROOT, "ls-files")
    assert not listed.returncode, listed.stderr
    return listed.stdout.decode().splitlines()

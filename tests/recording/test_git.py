"""git is asked about a folder of whoever's: a build's container runs as another user."""

import subprocess
from pathlib import Path

import pytest
from support.repositories import committed

from local.pipeline.source import Source
from recording import revision

pytestmark = pytest.mark.integration


@pytest.fixture
def anothers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that git takes for another user's."""
    (tmp_path / "file").write_text("text")
    committed(tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    asked = ["git", "-C", str(tmp_path), "log"]
    plain = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert "dubious ownership" in plain.stderr, "without being told, git refuses"
    return tmp_path


def test_a_repository_of_another_user_is_read(anothers: Path) -> None:
    assert revision.git_run(anothers, "ls-files").stdout == b"file\n"
    assert len(Source.of(anothers).commit) == 40
    assert b"text" in revision._git(anothers, "archive", "--format=tar", "HEAD")

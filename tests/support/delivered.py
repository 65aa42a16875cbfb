"""What a test delivers: a copy of this repository, with commits of the test's own."""

import shutil
from pathlib import Path

from support.repositories import committed, git

from local.pipeline.source import Source
from recording import revision
from recording.model import ROOT

# A stage of seconds: one file of tests, and one whose coverage is measured.
TESTS = "--no-check -n 0 tests/tlfif/test_tokens.py -k audience"
_MEASURED = 'source = ["tlfif", "worker", "functions", "gpu_image"]'


class Repository:
    """A copy of the working tree, as its first commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        chosen = ("--cached", "--others", "--exclude-standard")
        listed = revision.git_run(ROOT, "ls-files", "-z", *chosen)
        assert not listed.returncode, listed.stderr
        for name in filter(None, listed.stdout.decode().split("\0")):
            path = ROOT / name
            if path.is_file() and not path.is_symlink():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, folder / name)
        pyproject = folder / "pyproject.toml"
        text = pyproject.read_text()
        assert _MEASURED in text
        pyproject.write_text(text.replace(_MEASURED, 'include = ["tlfif/names.py"]'))
        self._first = Source.of(committed(folder)).commit

    def commit(self, message: str, appended: dict[str, str]) -> Source:
        """Appends to files of the first commit, which need not be there, and commits that."""
        git(self.folder, "reset", "--quiet", "--hard", self._first)
        for name, text in appended.items():
            with (self.folder / name).open("a") as file:
                file.write(text)
        return Source.of(committed(self.folder, message))

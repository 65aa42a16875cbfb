"""What the pipeline delivers: a commit of a repository, cloned for each build."""

from dataclasses import dataclass
from pathlib import Path

from recording import revision
from recording.model import ROOT

# Shared with every build, as a cache would be: installed packages, and what is downloaded.
_SHARED = (".venv", ".cache")


class SourceError(RuntimeError):
    """There is no such commit to deliver; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A commit (its full id) of the repository in `folder`."""

    folder: Path
    commit: str

    @classmethod
    def of(cls, folder: Path, revision: str = "HEAD") -> "Source":
        """The commit that a revision names. Raises SourceError."""
        commit = _git(folder, "rev-parse", "--verify", f"{revision}^{{commit}}").strip()
        return cls(folder=folder, commit=commit)

    @property
    def changed(self) -> list[str]:
        """Files that differ from what is committed: they are not delivered."""
        return _git(self.folder, "status", "--porcelain", "--untracked-files=no").splitlines()

    def check_out(self, place: Path) -> None:
        """Clones the repository at the commit, with its history. Raises SourceError."""
        _git(self.folder, "clone", "--quiet", "--shared", "--no-checkout", ".", str(place))
        _git(place, "checkout", "--quiet", "--detach", self.commit)
        # A link is no folder, for .gitignore.
        excluded = place / ".git/info/exclude"
        excluded.parent.mkdir(exist_ok=True)
        excluded.write_text("".join(f"/{name}\n" for name in _SHARED))
        for name in _SHARED:
            if (ROOT / name).exists() and not (place / name).exists():
                (place / name).symlink_to((ROOT / name).resolve())


def _git(folder: Path, *arguments: str) -> str:
    done = revision.git_run(folder, *arguments)
    if done.returncode:
        lines = done.stderr.decode().strip().splitlines()
        raise SourceError(f"git {arguments[0]} in {folder}: {lines[-1] if lines else 'failed'}")
    return done.stdout.decode()

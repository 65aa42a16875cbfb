"""Git repositories that tests make."""

import subprocess
from pathlib import Path

_AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@example.com")


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def committed(folder: Path, message: str = "all") -> Path:
    """Commits all of a folder, which becomes a repository if it is none."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, *_AUTHOR, "commit", "-q", "-m", message)
    return folder

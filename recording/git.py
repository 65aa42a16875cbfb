"""Asks git about a repository, whoever owns its folder."""

import subprocess
from pathlib import Path


def command(folder: Path, *arguments: str) -> list[str]:
    """The git command in a folder. A checkout may belong to another user than the one who runs
    this, in a build's container for instance, and git refuses such a one unless it is told.
    """
    return ["git", "-c", "safe.directory=*", "-C", str(folder), *arguments]


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """What git says. Raises OSError where there is no git; whether it failed is the return code."""
    return subprocess.run(command(folder, *arguments), capture_output=True, check=False)

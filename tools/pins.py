"""Pins an environment of the GPU node to one wheel of each package, with its hash.

python -m tools.pins NAME [BEFORE]: NAME.txt from NAME.in, for Python 3.10 on Linux x86_64, of what
was published before BEFORE (YYYY-MM-DD).
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import tomllib

# Ubuntu 22.04's C library is newer than all of these wheels want.
TARGET = ["--python-version", "3.10", "--python-platform", "x86_64-manylinux_2_35"]


def main() -> None:
    """Rewrites the file that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tools.pins", description=__doc__)
    parser.add_argument("name", help="of the files, without its ending")
    parser.add_argument("before", nargs="?", type=date.fromisoformat, help="YYYY-MM-DD")
    given = parser.parse_args()
    name, before = given.name, [str(given.before)] if given.before else []
    if not Path(f"{name}.in").is_file():
        sys.exit(f"NAME = {name}: there is no {name}.in")
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--format", "pylock.toml"]
    command += [*TARGET, *(["--exclude-newer", *before] if before else []), f"{name}.in"]
    lock = tomllib.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    head = f"# Pinned by 'make pins' from {name}.in: Python 3.10, Linux x86_64.\n"
    Path(f"{name}.txt").write_text(head + "".join(_pinned(lock["packages"])))


def _pinned(packages: list[dict[str, Any]]) -> Iterator[str]:
    for package in packages:
        hashes = sorted(wheel["hashes"]["sha256"] for wheel in package.get("wheels", []))
        if not hashes:
            sys.exit(f"{package['name']}=={package['version']}: no wheel for the node")
        lines = [f"{package['name']}=={package['version']}"]
        yield " \\\n".join([*lines, *(f"    --hash=sha256:{each}" for each in hashes)]) + "\n"


if __name__ == "__main__":
    main()

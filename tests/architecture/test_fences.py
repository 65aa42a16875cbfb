"""The layout's rules: which room imports which, and how large files, folders and lines may be."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from importlinter.api import read_configuration

ROOT = Path(__file__).resolve().parents[2]
# Where Python finds packages of ours, beside the root itself.
SOURCE_ROOTS = ("functions", "gpu_image")
NOT_OURS = {".git", ".venv", ".cache", "dist", "node_modules", "__pycache__"}
MAX_FILE_LINES = 400
MAX_FOLDER_FILES = 15
MAX_COLUMNS = 100
# One file a component, and one a subject of tests: such folders are as large as their matter.
LARGE_FOLDERS = ("components", "tests")


def sources() -> dict[str, str]:
    """Every Python and Lua file of ours, by its path from the root."""
    found = [path for kind in ("*.py", "*.lua") for path in sorted(ROOT.rglob(kind))]
    own = [path.relative_to(ROOT) for path in found]
    return {
        path.as_posix(): (ROOT / path).read_text() for path in own if not NOT_OURS & set(path.parts)
    }


SOURCES = sources()


def contracts() -> list[str]:
    options = read_configuration(str(ROOT / "pyproject.toml"))
    return [contract["name"] for contract in options["contracts_options"]]


def lint(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    path = os.pathsep.join(str(ROOT / each) for each in ("", *SOURCE_ROOTS))
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_room_keeps_its_contracts() -> None:
    done = lint()
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(contracts())} kept, 0 broken" in done.stdout


def test_every_room_is_known_to_the_contracts() -> None:
    known = set(
        read_configuration(str(ROOT / "pyproject.toml"))["session_options"]["root_packages"]
    )
    places = [ROOT, *(ROOT / each for each in SOURCE_ROOTS)]
    packages = {path.parent.name for place in places for path in place.glob("*/__init__.py")}
    assert packages - {"tests"} == known


def test_no_line_is_too_wide() -> None:
    wide = [
        f"{path}:{number}"
        for path, text in SOURCES.items()
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > MAX_COLUMNS
    ]
    assert wide == []


def test_no_file_is_too_long() -> None:
    lines = {path: len(text.splitlines()) for path, text in SOURCES.items()}
    assert {path: n for path, n in lines.items() if n > MAX_FILE_LINES} == {}


def test_no_folder_holds_several_trades() -> None:
    folders = Counter(str(Path(path).parent) for path in SOURCES)
    full = {
        folder: count
        for folder, count in folders.items()
        if count > MAX_FOLDER_FILES and not folder.startswith(LARGE_FOLDERS)
    }
    assert full == {}


def test_what_changes_the_contract_for_its_process_is_imported_by_nobody() -> None:
    """Its times would be everybody's: a process of a test's own is run by its name."""
    changes = re.compile(r"^(?:    )?(?:names\.[A-Z_]+[^=(]* = |setattr\(names, )", re.MULTILINE)
    changing = [path for path, text in SOURCES.items() if changes.search(text)]
    assert "tests/support/chaos/function.py" in changing
    modules = [
        path.removeprefix("tests/").removesuffix(".py").replace("/", ".") for path in changing
    ]
    imports = re.compile(
        rf"^ *(?:from|import) (?:{'|'.join(map(re.escape, modules))})\b", re.MULTILINE
    )
    assert [path for path, text in SOURCES.items() if imports.search(text)] == []


def test_nobody_patches_the_import_path() -> None:
    """Handing it on to a child process is something else."""
    changes = re.compile(r"sys\.path(\.(insert|append|extend|remove|pop)|\[.*\] *=| *\+?= )")
    assert changes.search("sys.path.insert(0, here)")
    own = Path(__file__).relative_to(ROOT).as_posix()
    assert [path for path, text in SOURCES.items() if changes.search(text) and path != own] == []

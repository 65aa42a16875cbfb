"""Pinned packages for bundles: installed once for each set of pins, stripped and compiled."""

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
Target = Literal["host", "lambda"]

# Part of every hash: raise it when the layout of a bundle changes, so that no old one is taken for
# a new one.
LAYOUT = "1"
_LAMBDA_PYTHON = "3.12"
# By Lambda's name of the architecture.
_UV_PLATFORMS = {"arm64": "aarch64-manylinux2014", "x86_64": "x86_64-manylinux2014"}

# uv's own bookkeeping names this machine's folders and scripts; METADATA and licences stay.
_BOOKKEEPING = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")

# Runs in a fresh interpreter, with a fixed hash seed and order: marshal's output depends on what
# was interned before.
_COMPILE = """
import pathlib, py_compile
for name in sorted(path.as_posix() for path in pathlib.Path().rglob("*.py")):
    py_compile.compile(name, dfile="/var/task/" + name, doraise=True,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


class BundleError(RuntimeError):
    """A bundle cannot be built; the message is one line that names the cause and the fix."""


def install(
    requirements: Sequence[str],
    constraints: Path,
    target: Target,
    root: Path = ROOT,
    architecture: str = "arm64",
) -> Path:
    """The folder with these packages and all they need, installed once per set of pins and
    compiled.

    Every package must be pinned in `constraints`. `architecture` is Lambda's, for its bundles.
    Raises BundleError.
    """
    tag, pins = platform_tag(target, architecture), constraints.read_text()
    packages = _cached(target, LAYOUT, tag, sorted(requirements), pins, root=root)
    if packages.exists():
        return packages
    with new_folder(packages) as tree:
        if requirements:
            options = (*_platform(target, architecture), "--constraints", str(constraints))
            _uv_install(requirements, tree, options)
            _strip(tree)
            _check_pinned(tree, constraints)
            compile_tree(tree, target)
    return packages


def unpack(package: str, target: Target, root: Path = ROOT, architecture: str = "arm64") -> Path:
    """The folder with what one wheel has, as it is and without what it needs, unpacked once.

    `package` names its version. Raises BundleError.
    """
    folder = _cached(target, LAYOUT, platform_tag(target, architecture), package, root=root)
    if not folder.exists():
        with new_folder(folder) as tree:
            _uv_install((package,), tree, ("--no-deps", *_platform(target, architecture)))
    return folder


def _cached(target: Target, *decides: object, root: Path) -> Path:
    key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]
    return root / ".cache" / "packages" / f"{target}-{key}"


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which appears at `path` whole, and only when the block ends well."""
    with scratch_folder(path.parent) as scratch:
        tree = scratch / "tree"
        tree.mkdir()
        yield tree
        try:
            tree.rename(path)
        except OSError:
            # Another builder was first; its folder is as good as ours.
            if not path.exists():
                raise


def platform_tag(target: Target, architecture: str = "arm64") -> str:
    """What a bundle for a target is made for: part of its hash."""
    if target == "lambda":
        return f"python{_LAMBDA_PYTHON}-{architecture}"
    python = f"{platform.python_implementation()}-{platform.python_version()}"
    return f"{python}-{sysconfig.get_platform()}"


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise BundleError(
            "uv was not found beside this Python or on PATH; install it: python -m pip install uv"
        )
    return uv


def _platform(target: Target, architecture: str) -> Sequence[str]:
    if target == "host":
        return ()
    return (
        "--python-platform", _UV_PLATFORMS[architecture], "--python-version", _LAMBDA_PYTHON,
        "--only-binary", ":all:",
    )  # fmt: skip


def _uv_install(requirements: Sequence[str], tree: Path, options: Sequence[str]) -> None:
    where = ("--python", sys.executable, "--target", str(tree))
    done = _run([_uv(), "pip", "install", "--quiet", *where, *options, *requirements])
    if done.returncode:
        what, why = ", ".join(requirements), _last_word(done.stderr)
        raise BundleError(
            f"uv could not install {what}: {why} (is the package registry reachable?)"
        )


def _last_word(stderr: str) -> str:
    # uv writes "error: what", then a chain of "cause: why", the root cause last.
    lines = [line.strip() for line in stderr.splitlines()]
    errors = [line for line in lines if line.startswith("error:")][:1]
    causes = [line for line in lines if line.lower().startswith(("cause:", "caused by:"))][-1:]
    return "; ".join(errors + causes) or "\n".join(lines[-1:]) or "no message"


def _strip(tree: Path) -> None:
    # Scripts name this machine's interpreter; uv's own files and the packages' tests are noise in a
    # bundle.
    shutil.rmtree(tree / "bin", ignore_errors=True)
    for path in sorted(tree.rglob("*"), reverse=True):
        bookkeeping = path.parent.suffix == ".dist-info" and path.name in _BOOKKEEPING
        if path.is_dir() and path.name in ("tests", "test", "__pycache__"):
            shutil.rmtree(path)
        elif path.is_file() and (bookkeeping or path.match("test_*.py") or path.name == ".lock"):
            path.unlink()


def _check_pinned(tree: Path, constraints: Path) -> None:
    pins = {
        _normalised(line.partition("==")[0])
        for line in constraints.read_text().splitlines()
        if "==" in line
    }
    for info in sorted(tree.glob("*.dist-info")):
        name = info.name.partition("-")[0]
        if _normalised(name) not in pins:
            raise BundleError(f"package {name!r} has no pin in {constraints.name}; run 'make pins'")


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def compile_tree(tree: Path, target: Target) -> None:
    """Compiles every source file of a folder for a target's Python. Raises BundleError."""
    python = _lambda_python() if target == "lambda" else sys.executable
    done = _run([python, "-S", "-c", _COMPILE], cwd=tree, env={"PYTHONHASHSEED": "0"})
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise BundleError(f"a source file does not compile: {' '.join(lines[-4:])}")


@functools.cache
def _lambda_python() -> str:
    for candidate in _python_candidates():
        if (python := _run_python(candidate)) is not None:
            return python
    raise BundleError(
        f"a Lambda bundle needs python{_LAMBDA_PYTHON} and none was found; put one on PATH or run: "
        f"uv python install {_LAMBDA_PYTHON}"
    )


def _python_candidates() -> Iterator[str]:
    name = f"python{_LAMBDA_PYTHON}"
    yield sys.executable
    yield from (str(Path(folder) / name) for folder in os.get_exec_path())
    # pyenv's shim refuses a version that is installed but not selected.
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from (
        str(path)
        for path in sorted(pyenv.glob(f"versions/{_LAMBDA_PYTHON}.*/bin/{name}"), reverse=True)
    )
    yield _run([_uv(), "python", "find", "--managed-python", _LAMBDA_PYTHON]).stdout.strip()


def _run_python(candidate: str) -> str | None:
    """The interpreter behind a candidate, when it runs and is the right one: a shim may exist and
    still refuse.
    """
    script = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    try:
        done = _run([candidate, "-S", "-c", script])
    except OSError:
        return None
    version, _, executable = done.stdout.strip().partition(" ")
    return executable if version == _LAMBDA_PYTHON else None


def _run(
    command: Sequence[str], cwd: Path | None = None, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, check=False)


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder that is gone after the block: beside the result, so that moving it into place is one
    atomic rename and two builders never meet.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=parent, prefix=".build-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)

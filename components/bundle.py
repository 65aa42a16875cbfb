"""Function bundles: reproducible zips of one function, the shared package and its pinned
dependencies.
"""

import argparse
import base64
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
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pulumi

ROOT = Path(__file__).resolve().parent.parent
Target = Literal["host", "lambda"]

# Part of every hash: raise it when the layout of a bundle changes, so that no old one is taken for
# a new one.
_LAYOUT = "1"
_LAMBDA_PYTHON = "3.12"
_UV_LAMBDA = f"--python-platform aarch64-manylinux2014 --python-version {_LAMBDA_PYTHON} --only-binary :all:".split()
_ENTRY_DATE = (1980, 1, 1, 0, 0, 0)

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


def build(function: str, target: Target, root: Path = ROOT) -> Path:
    """The zip of one function for this machine or for Lambda (arm64, Python 3.12), built only when
    its sources changed.

    Byte-identical across builds, folders, hash seeds and users. `root` holds functions/ and
    receives dist/ and .cache/. Raises BundleError.
    """
    sources = _sources(function, root)
    bundle = _bundle_path(function, target, sources, root)
    if bundle.exists():
        return bundle
    packages = install(
        _requirements(function, root), root / "functions" / "constraints.txt", target, root
    )
    with _scratch_dir(bundle.parent) as scratch:
        tree = scratch / "tree"
        _write(tree, sources)
        _compile(tree, target)
        # The local cloud unpacks its bundles at once: compressing them would only cost a second of
        # every first start.
        compression = zipfile.ZIP_DEFLATED if target == "lambda" else zipfile.ZIP_STORED
        _zip(scratch / bundle.name, _files(packages) | _files(tree), compression)
        (scratch / bundle.name).replace(bundle)
    return bundle


def archive(function: str) -> "pulumi.FileArchive":
    """The Lambda bundle as a Pulumi archive, by a path relative to the project; built only under
    the real engine.

    Recordings and tests evaluate the program under mocks, where the path alone matters. Raises
    BundleError.
    """
    # Here, because `make lambda-package` and the local cloud's start should not pay for importing
    # Pulumi.
    import pulumi
    from pulumi.runtime.mocks import MockMonitor
    from pulumi.runtime.settings import get_monitor

    bundle = _bundle_path(function, "lambda", _sources(function, ROOT), ROOT)
    if not isinstance(get_monitor(), MockMonitor):
        build(function, "lambda")
    return pulumi.FileArchive(bundle.relative_to(ROOT).as_posix())


def source_hash(function: str, root: Path = ROOT) -> str:
    """Base64 SHA-256 of everything that decides a bundle's content: sources, requirements and pins.

    Builds nothing.
    """
    return base64.b64encode(_digest(_sources(function, root), root)).decode()


def functions(root: Path = ROOT) -> list[str]:
    """The names of all functions: the folders of functions/ that have a handler."""
    return sorted(handler.parent.name for handler in (root / "functions").glob("*/handler.py"))


def install(
    requirements: Sequence[str], constraints: Path, target: Target, root: Path = ROOT
) -> Path:
    """The folder with these packages and all they need, installed once per set of pins and
    compiled.

    Every package must be pinned in `constraints`. Raises BundleError.
    """
    pins = constraints.read_text()
    key = hashlib.sha256(
        json.dumps([_LAYOUT, _platform(target), sorted(requirements), pins]).encode()
    ).hexdigest()[:16]
    packages = root / ".cache" / "packages" / f"{target}-{key}"
    if packages.exists():
        return packages
    with new_folder(packages) as tree:
        if requirements:
            _uv_install(requirements, constraints, target, tree)
            _strip(tree)
            _check_pinned(tree, constraints)
            _compile(tree, target)
    return packages


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which appears at `path` whole, and only when the block ends well."""
    with _scratch_dir(path.parent) as scratch:
        tree = scratch / "tree"
        tree.mkdir()
        yield tree
        try:
            tree.rename(path)
        except OSError:
            # Another builder was first; its folder is as good as ours.
            if not path.exists():
                raise


def _sources(function: str, root: Path) -> dict[str, bytes]:
    folder = root / "functions" / function
    if not (folder / "handler.py").is_file():
        raise BundleError(
            f"there is no function {function!r} in functions/; there are: {', '.join(functions(root))}"
        )
    packages = (folder, root / "tlfif")
    names = {
        path.relative_to(package.parent): path
        for package in packages
        for path in package.rglob("*")
        if path.is_file()
    }
    return {
        name.as_posix(): path.read_bytes()
        for name, path in sorted(names.items())
        if _is_source(name)
    }


def _is_source(name: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
    return not hidden and name.suffix != ".pyc" and not name.name.endswith("~")


def _requirements(function: str, root: Path) -> list[str]:
    path = root / "functions" / function / "requirements.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in (line.partition("#")[0].strip() for line in lines) if line]


def _digest(sources: dict[str, bytes], root: Path) -> bytes:
    pins = (root / "functions" / "constraints.txt").read_bytes()
    digest = hashlib.sha256(_LAYOUT.encode())
    for name, content in [*sources.items(), ("constraints.txt", pins)]:
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.digest()


def _bundle_path(function: str, target: Target, sources: dict[str, bytes], root: Path) -> Path:
    digest = hashlib.sha256(_digest(sources, root) + _platform(target).encode()).hexdigest()[:16]
    return root / "dist" / target / f"{function}-{digest}.zip"


def _platform(target: Target) -> str:
    if target == "lambda":
        return f"python{_LAMBDA_PYTHON}-arm64"
    return (
        f"{platform.python_implementation()}-{platform.python_version()}-{sysconfig.get_platform()}"
    )


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise BundleError(
            "uv was not found beside this Python or on PATH; install it: python -m pip install uv"
        )
    return uv


def _uv_install(requirements: Sequence[str], constraints: Path, target: Target, tree: Path) -> None:
    options = _UV_LAMBDA if target == "lambda" else ()
    command = [
        _uv(),
        "pip",
        "install",
        "--quiet",
        "--python",
        sys.executable,
        "--target",
        str(tree),
        *options,
    ]
    done = _run([*command, "--constraints", str(constraints), *requirements])
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


def _compile(tree: Path, target: Target) -> None:
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
def _scratch_dir(parent: Path) -> Iterator[Path]:
    # Beside the result, so that moving it into place is one atomic rename and two builders never
    # meet.
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=parent, prefix=".build-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _write(tree: Path, sources: dict[str, bytes]) -> None:
    for name, content in sources.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _files(tree: Path) -> dict[str, Path]:
    return {path.relative_to(tree).as_posix(): path for path in tree.rglob("*") if path.is_file()}


def _zip(bundle: Path, files: dict[str, Path], compression: int) -> None:
    with zipfile.ZipFile(bundle, "w") as zipped:
        for name, path in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _ENTRY_DATE)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = compression
            zipped.writestr(entry, path.read_bytes())


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds bundles and prints each with its size; 0 when all could be built."""
    parser = argparse.ArgumentParser(prog="python -m components.bundle", description=main.__doc__)
    parser.add_argument(
        "--target", choices=("host", "lambda"), default="lambda", help="default: lambda"
    )
    parser.add_argument("functions", nargs="*", help="default: all")
    options = parser.parse_args(arguments)
    try:
        for function in options.functions or functions():
            bundle = build(function, options.target)
            print(f"{bundle.relative_to(ROOT)}  {bundle.stat().st_size / 1e6:.2f} MB", flush=True)
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

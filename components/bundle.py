"""Function bundles: reproducible zips of one function, the shared package and its pinned
dependencies.
"""

import argparse
import base64
import contextvars
import hashlib
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from components import zips
from components.packages import (
    LAYOUT,
    ROOT,
    BundleError,
    Target,
    compile_tree,
    install,
    platform_tag,
    scratch_folder,
)

if TYPE_CHECKING:
    import pulumi

# Whether a program that declares a function builds its bundle. Pulumi uploads bundles; a recording
# (recording/evaluate.py) reads their paths alone, needs no Python 3.12 for them, and says so here.
BUILDS: contextvars.ContextVar[bool] = contextvars.ContextVar("BUILDS", default=True)


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
    constraints = root / "functions" / "constraints.txt"
    packages = install(_requirements(function, root), constraints, target, root)
    # The local cloud unpacks its bundles at once: compressing them would only cost a second of
    # every first start.
    compression = zipfile.ZIP_DEFLATED if target == "lambda" else zipfile.ZIP_STORED
    with scratch_folder(bundle.parent) as tree:
        _write(tree, sources)
        compile_tree(tree, target)
        zips.write(bundle, zips.packed(_files(packages) | _files(tree), compression))
    return bundle


def archive(function: str) -> "pulumi.FileArchive":
    """The Lambda bundle as a Pulumi archive, by a path relative to the project; built if BUILDS.

    Raises BundleError.
    """
    # Here, because `make lambda-package` and the local cloud's start should not pay for importing
    # Pulumi.
    import pulumi

    bundle = _bundle_path(function, "lambda", _sources(function, ROOT), ROOT)
    if BUILDS.get():
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


def _sources(function: str, root: Path) -> dict[str, bytes]:
    folder = root / "functions" / function
    if not (folder / "handler.py").is_file():
        known = ", ".join(functions(root))
        raise BundleError(f"there is no function {function!r} in functions/; there are: {known}")
    packages = (folder, root / "tlfif")
    sources: dict[str, bytes] = {}
    for package in packages:
        for path in package.rglob("*"):
            name = path.relative_to(package.parent)
            if path.is_file() and _is_source(name):
                sources[name.as_posix()] = path.read_bytes()
    return dict(sorted(sources.items()))


def _is_source(name: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
    return not hidden and name.suffix != ".pyc" and not name.name.endswith("~")


def _requirements(function: str, root: Path) -> list[str]:
    path = root / "functions" / function / "requirements.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in (line.partition("#")[0].strip() for line in lines) if line]


def _digest(sources: dict[str, bytes], root: Path) -> bytes:
    pins = (root / "functions" / "constraints.txt").read_bytes()
    digest = hashlib.sha256(LAYOUT.encode())
    for name, content in [*sources.items(), ("constraints.txt", pins)]:
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.digest()


def _bundle_path(function: str, target: Target, sources: dict[str, bytes], root: Path) -> Path:
    digest = hashlib.sha256(_digest(sources, root) + platform_tag(target).encode()).hexdigest()[:16]
    return root / "dist" / target / f"{function}-{digest}.zip"


def _write(tree: Path, sources: dict[str, bytes]) -> None:
    for name, content in sources.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _files(tree: Path) -> dict[str, bytes]:
    paths = (path for path in tree.rglob("*") if path.is_file())
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in paths}


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

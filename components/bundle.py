"""Function bundles: reproducible zips of one function, our packages that it shares and its pinned
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

from components import contents, zips
from components.contents import Library
from components.packages import (
    LAYOUT,
    ROOT,
    BundleError,
    Target,
    compile_tree,
    install,
    platform_tag,
    scratch_folder,
    unpack,
)

if TYPE_CHECKING:
    import pulumi

# Lambda's limits for a zip that is uploaded with the call that makes a function, and unzipped.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_ZIPPED_BYTES, MAX_UNZIPPED_BYTES = 50 << 20, 250 << 20

# Whether a program that declares a function builds its bundle. Pulumi uploads bundles; a recording
# (recording/evaluate.py) reads their paths alone, needs no Python 3.12 for them, and says so here.
BUILDS: contextvars.ContextVar[bool] = contextvars.ContextVar("BUILDS", default=True)


def build(function: str, target: Target, root: Path = ROOT) -> Path:
    """The zip of one function for this machine or for Lambda (Python 3.12), built only when its
    sources changed.

    Byte-identical across builds, folders, hash seeds and users. `root` holds functions/ and
    receives dist/ and .cache/. Raises BundleError, also for a bundle that Lambda would not take.
    """
    own = _sources(function, root)
    bundle = _bundle_path(function, target, own, root)
    if bundle.exists():
        return bundle
    constraints = root / "functions" / "constraints.txt"
    has = contents.read(root / "functions" / function)
    packages = install(_requirements(function, root), constraints, target, root, has.architecture)
    # The local cloud unpacks its bundles at once: compressing them would only cost a second of
    # every first start.
    compression = zipfile.ZIP_DEFLATED if target == "lambda" else zipfile.ZIP_STORED
    with scratch_folder(bundle.parent) as tree:
        _write(tree, own)
        compile_tree(tree, target)
        files = _files(packages) | _files(tree)
    for place, library in has.libraries.items():
        files |= _library(place, library, function, target, root)
    zipped = zips.packed(files, compression)
    if target == "lambda":
        _require_size(function, zipped, files)
    zips.write(bundle, zipped)
    return bundle


def place(function: str, target: Target, root: Path = ROOT) -> Path:
    """Where `build` puts the zip of one function as its sources are now, built or not.

    Raises BundleError.
    """
    return _bundle_path(function, target, _sources(function, root), root)


def architecture(function: str, root: Path = ROOT) -> str:
    """The processor that a function's Lambda bundle is for: "arm64" or "x86_64".

    Raises BundleError.
    """
    return contents.read(root / "functions" / function).architecture


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


def sources(*packages: Path) -> dict[str, bytes]:
    """The files of these folders, by their paths from the folder around each; without what Python
    compiled and what editors leave.
    """
    found: dict[str, bytes] = {}
    for package in packages:
        for path in package.rglob("*"):
            name = path.relative_to(package.parent)
            if path.is_file() and _is_source(name):
                found[name.as_posix()] = path.read_bytes()
    return dict(sorted(found.items()))


def _sources(function: str, root: Path) -> dict[str, bytes]:
    folder = root / "functions" / function
    if not (folder / "handler.py").is_file():
        known = ", ".join(functions(root))
        raise BundleError(f"there is no function {function!r} in functions/; there are: {known}")
    return sources(folder, *(root / name for name in contents.read(folder).packages))


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
    tag = platform_tag(target, architecture(function, root))
    digest = hashlib.sha256(_digest(sources, root) + tag.encode()).hexdigest()[:16]
    return root / "dist" / target / f"{function}-{digest}.zip"


def _library(
    place: str, library: Library, function: str, target: Target, root: Path
) -> dict[str, bytes]:
    """A library and its licence by their places in the bundle.

    Other systems' wheels, on the host, have it elsewhere or need none.
    """
    wheel = unpack(library.package, target, root, architecture(function, root))
    found = sorted(wheel.glob(library.file))
    if len(found) != 1:
        if target == "host" and sys.platform != "linux":
            return {}
        raise BundleError(
            f"{library.package} has {len(found)} files {library.file}, not one; "
            f"see functions/{function}/{contents.FILE}"
        )
    licence = root / "functions" / function / library.licence
    beside = f"{place.rpartition('/')[0]}/{licence.name}"
    return {place: found[0].read_bytes(), beside: licence.read_bytes()}


def _require_size(function: str, zipped: bytes, files: dict[str, bytes]) -> None:
    unzipped = sum(map(len, files.values()))
    for what, size, limit in (
        ("zipped", len(zipped), MAX_ZIPPED_BYTES),
        ("unzipped", unzipped, MAX_UNZIPPED_BYTES),
    ):
        if size > limit:
            largest = max(files, key=lambda name: len(files[name]))
            raise BundleError(
                f"the bundle of {function} has {size} bytes {what}, and Lambda takes {limit}; "
                f"its largest file is {largest} ({len(files[largest])} bytes)"
            )


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

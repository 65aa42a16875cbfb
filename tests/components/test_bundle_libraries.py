"""Every native library of a Lambda bundle finds what it needs: in the bundle, or in the runtime."""

import io
import os
import posixpath
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from components import bundle, packages

pytestmark = [pytest.mark.story("LAM-001"), pytest.mark.integration]

MACHINES = {"arm64": "EM_AARCH64", "x86_64": "EM_X86_64"}
# What Lambda's python3.12 has, which is Amazon Linux 2023: glibc 2.34, and the libraries of GCC 11.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
# https://gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html
PROVIDED = {
    "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1",
    "libgcc_s.so.1", "libstdc++.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
}  # fmt: skip
NEWEST = {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (11, 0, 0)}
# Where the loader looks beside a library's own path: LD_LIBRARY_PATH has /var/task and these.
LIBRARY_PATHS = ("", "lib")


@dataclass(frozen=True)
class Native:
    """One ELF file: the libraries it needs, the versions it needs of each, what it defines."""

    place: str
    machine: str
    needed: frozenset[str]
    versions: frozenset[tuple[str, str]]
    defined: frozenset[str]
    paths: tuple[str, ...]


def natives(files: Mapping[str, bytes]) -> Iterator[Native]:
    for place, content in files.items():
        if not content.startswith(b"\x7fELF"):
            continue
        elf = ELFFile(io.BytesIO(content))
        tags = list(elf.get_section_by_name(".dynamic").iter_tags())
        needs = elf.get_section_by_name(".gnu.version_r")
        defines = elf.get_section_by_name(".gnu.version_d")
        runpaths = [
            getattr(tag, tag.entry.d_tag.removeprefix("DT_").lower())
            for tag in tags
            if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH")
        ]
        origin = posixpath.dirname(place)
        yield Native(
            place,
            elf["e_machine"],
            frozenset(tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"),
            frozenset(
                (need.name, version.name)
                for need, versions in (needs.iter_versions() if needs else ())
                for version in versions
            ),
            frozenset(
                next(iter(names)).name for _, names in (defines.iter_versions() if defines else ())
            ),
            tuple(
                posixpath.normpath(path.replace("$ORIGIN", origin))
                for each in runpaths
                for path in each.split(":")
            ),
        )


def missing(files: Mapping[str, bytes], provided: set[str] = PROVIDED) -> list[str]:
    """What the native files of a bundle need and neither bundle nor runtime has."""
    found = {native.place: native for native in natives(files)}
    wanting: list[str] = []
    for native in found.values():
        for library in sorted(native.needed - provided):
            places = [
                posixpath.normpath(posixpath.join(path, library))
                for path in (*native.paths, *LIBRARY_PATHS)
            ]
            here = next((found[place] for place in places if place in found), None)
            if here is None:
                wanting.append(f"{native.place}: {library}")
                continue
            wanting += [
                f"{native.place}: {version} of {library}"
                for name, version in sorted(native.versions)
                if name == library and version not in here.defined
            ]
        wanting += [
            f"{native.place}: {version} of {name}"
            for name, version in sorted(native.versions)
            if name in provided and not is_there(version)
        ]
    return wanting


def is_there(version: str) -> bool:
    """Whether the runtime's libraries are as new: GLIBC_2.34."""
    family, _, number = version.partition("_")
    if not re.fullmatch(r"[0-9.]+", number):
        # Such as CXXABI_TM_1, or GLIBC_ABI_DT_RELR of glibc 2.36.
        return version == "CXXABI_TM_1"
    return tuple(map(int, number.split("."))) <= NEWEST[family]


def built(function: str) -> Path:
    try:
        return bundle.build(function, "lambda")
    except packages.BundleError as error:
        if "python3.12" not in str(error):
            raise
        pytest.skip(str(error))


def files_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


@pytest.mark.parametrize("function", bundle.functions())
def test_each_bundle_has_what_its_libraries_need(function: str):
    files = files_of(built(function))
    assert not missing(files)
    machines = {native.machine for native in natives(files)}
    assert machines <= {MACHINES[bundle.architecture(function)]}


@pytest.fixture(scope="module")
def lane_files() -> dict[str, bytes]:
    return files_of(built("cpu_worker"))


def test_what_is_missing_or_too_new_is_found(lane_files: dict[str, bytes]):
    without = {name: data for name, data in lane_files.items() if not name.startswith("lib/")}
    assert missing(without) == ["xllamacpp/xllamacpp.abi3.so: libgomp.so.1"]
    assert missing(lane_files, PROVIDED - {"libstdc++.so.6"})
    assert [is_there(each) for each in ("GLIBC_2.34", "GLIBC_2.35", "GLIBC_ABI_DT_RELR")] == [
        True, False, False,
    ]  # fmt: skip
    assert [is_there(each) for each in ("GLIBCXX_3.4.29", "GLIBCXX_3.4.30")] == [True, False]


def test_of_the_wheel_that_has_libgomp_the_lane_has_nothing_else(lane_files: dict[str, bytes]):
    assert "lib/libgomp.so.1" in lane_files
    assert b"Runtime Library Exception" in lane_files["lib/libgomp.LICENSE"]
    assert not [name for name in lane_files if "pykdtree" in name or "numpy" in name]


def test_the_lane_has_the_worker_and_leaves_boto3_to_the_runtime(lane_files: dict[str, bytes]):
    ours = {name.partition("/")[0] for name in lane_files}
    assert {"cpu_worker", "tlfif", "worker", "xllamacpp", "httpx", "redis"} <= ours
    assert not {"boto3", "botocore", "watcher"} & ours


def test_each_bundle_is_within_lambdas_limits():
    for function in bundle.functions():
        path = built(function)
        assert path.stat().st_size <= 50 * 1024 * 1024
        assert sum(map(len, files_of(path).values())) <= 250 * 1024 * 1024


@pytest.mark.skipif(
    (sys.platform, os.uname().machine) != ("linux", "x86_64"), reason="the bundle is for x86_64"
)
def test_the_engine_takes_the_bundles_libgomp(tmp_path: Path):
    python = packages._lambda_python()
    with zipfile.ZipFile(built("cpu_worker")) as zipped:
        zipped.extractall(tmp_path)
    look = "import xllamacpp; print(open('/proc/self/maps').read())"
    environment = {"LD_LIBRARY_PATH": str(tmp_path / "lib"), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [python, "-S", "-c", look], env=environment, capture_output=True, text=True, check=True
    )
    mapped = {line.split()[-1] for line in done.stdout.splitlines() if "libgomp" in line}
    assert mapped == {str(tmp_path / "lib/libgomp.so.1")}

"""What a function's bundle.toml says: its architecture, packages and libraries; and how large."""

import os
import sys
import zipfile
from pathlib import Path

import pytest
from support.bundles import fake_uv, make_project

from components import bundle, packages


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


LIBS = "pykdtree.libs/libgomp-"
LIBRARY = """
architecture = "x86_64"
packages = ["tlfif", "worker"]
[libraries."lib/libgomp.so.1"]
package = "pykdtree==1.4.3"
file = "pykdtree.libs/libgomp-*.so.1.0.0"
licence = "NOTICE"
"""


def with_contents(project: Path, text: str) -> Path:
    (project / "functions/f/bundle.toml").write_text(text)
    (project / "functions/f/NOTICE").write_text("free software")
    (project / "worker").mkdir()
    (project / "worker/job.py").write_text("JOB = 1\n")
    return project


def unpacked(folder: Path, *names: str) -> str:
    """A uv that installs files of these names, whatever is asked of it."""
    places = " ".join(f'"$2/{name}"' for name in names)
    target = "while [ $1 != --target ]; do shift; done"
    script = f'{target}; for p in {places}; do mkdir -p "$(dirname "$p")"; echo so > "$p"; done'
    return fake_uv(folder, script)


def test_a_function_has_the_packages_and_libraries_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = with_contents(make_project(tmp_path), LIBRARY)
    names = ("pykdtree.libs/libgomp-1a.so.1.0.0", "pykdtree/kdtree.py", "numpy/core.py")
    monkeypatch.setattr(packages, "_uv", lambda: unpacked(tmp_path, *names))
    with zipfile.ZipFile(bundle.build("f", "host", project)) as zipped:
        inside = set(zipped.namelist())
        assert zipped.read("lib/libgomp.so.1") == b"so\n"
        assert zipped.read("lib/NOTICE") == b"free software"
    assert "worker/job.py" in inside
    assert not [name for name in inside if "pykdtree" in name or "numpy" in name]
    assert bundle.architecture("f", project) == "x86_64"


def test_other_functions_have_no_worker_and_are_for_arm64(project: Path):
    with_contents(project, "")
    (project / "functions/f/bundle.toml").unlink()
    with zipfile.ZipFile(bundle.build("f", "host", project)) as zipped:
        assert not [name for name in zipped.namelist() if name.startswith("worker/")]
    assert bundle.architecture("f", project) == "arm64"


@pytest.mark.parametrize(
    "names", [["pykdtree/kdtree.py"], [f"{LIBS}1.so.1.0.0", f"{LIBS}2.so.1.0.0"]]
)
def test_a_wheel_without_the_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
):
    project = with_contents(make_project(tmp_path), LIBRARY)
    monkeypatch.setattr(packages, "_uv", lambda: unpacked(tmp_path, *names))
    monkeypatch.setattr(sys, "platform", "linux")
    wanted = r"pykdtree==1\.4\.3 has [02] files .*, not one; see functions/f/bundle\.toml"
    with pytest.raises(packages.BundleError, match=wanted):
        bundle.build("f", "host", project)


@pytest.mark.parametrize(
    "text",
    [
        'architecture = "mips"',
        'packages = ["local"]',
        'colour = "red"',
        "architecture =",
        LIBRARY.replace("==1.4.3", ""),
    ],
)
def test_contents_that_are_none_name_the_file(project: Path, text: str):
    with_contents(project, text)
    with pytest.raises(packages.BundleError, match=r"^functions/f/bundle\.toml: ") as caught:
        bundle.build("f", "host", project)
    assert "\n" not in str(caught.value)


def test_the_hash_follows_the_contents_and_the_packages_that_they_name(project: Path):
    with_contents(project, 'packages = ["tlfif", "worker"]')
    hashes = {bundle.source_hash("f", project)}
    (project / "worker/job.py").write_text("JOB = 2\n")
    hashes.add(bundle.source_hash("f", project))
    (project / "functions/f/bundle.toml").write_text('packages = ["tlfif"]')
    hashes.add(bundle.source_hash("f", project))
    assert len(hashes) == 3


def test_another_architecture_is_another_bundle(project: Path):
    paths = set()
    for architecture in ("arm64", "x86_64"):
        (project / "functions/f/bundle.toml").write_text(f'architecture = "{architecture}"')
        paths.add(bundle._bundle_path("f", "lambda", {"f/handler.py": b""}, project))
    assert len(paths) == 2


@pytest.mark.parametrize("what", ["zipped", "unzipped"])
def test_a_bundle_that_lambda_would_not_take_names_its_largest_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    (project / "functions/f/weights.bin").write_bytes(os.urandom(100_000))
    monkeypatch.setattr(bundle, f"MAX_{what.upper()}_BYTES", 90_000)
    monkeypatch.setattr(packages, "_lambda_python", lambda: sys.executable)
    wanted = rf"f has \d+ bytes {what}, and Lambda takes 90000; .* f/weights\.bin \(100000 bytes\)"
    with pytest.raises(packages.BundleError, match=wanted):
        bundle.build("f", "lambda", project)
    assert not list((project / "dist").rglob("*.zip"))

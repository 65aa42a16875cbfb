import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components import bundle, packages
from recording.evaluate import evaluate

HANDLER = """
NAMES = {"alpha", "beta", "gamma", "delta"}
def handler(event, context):
    if event in {"one", "two", "three", "four", "five"}:
        return sorted(NAMES)
    return (lambda *, limit=10: [limit, *NAMES])()
"""

BUILD = """
import sys; from pathlib import Path; from components import bundle
print(bundle.build("f", "host", Path(sys.argv[1])))
"""


def make_project(root: Path, pins: str = "six==1.17.0\n", requirements: str = "") -> Path:
    files = {
        "functions/constraints.txt": pins,
        "functions/f/requirements.txt": requirements,
        "functions/f/__init__.py": "",
        "functions/f/handler.py": HANDLER,
        "functions/f/events/script.lua": "return 1\n",
        "tlfif/__init__.py": "",
        "tlfif/names.py": "LIMITS = frozenset({'a', 'b', 'c'})\n",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def fake_uv(folder: Path, script: str) -> str:
    uv = folder / "uv"
    uv.write_text(f"#!/bin/sh\n{script}\n")
    uv.chmod(0o755)
    return str(uv)


def build_elsewhere(root: Path, seed: str, umask: int) -> bytes:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(bundle.ROOT)}
    command = [sys.executable, "-c", BUILD, str(make_project(root))]
    done = subprocess.run(
        command, env=environment, umask=umask, text=True, capture_output=True, check=True
    )
    return Path(done.stdout.strip()).read_bytes()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.mark.story("LAM-001")
def test_two_builds_are_byte_identical_in_any_folder_hash_seed_and_umask(tmp_path: Path):
    first = build_elsewhere(tmp_path / "a", seed="1", umask=0o022)
    second = build_elsewhere(tmp_path / "another/and deeper", seed="4242", umask=0o077)
    assert first == second


def test_entries_are_sorted_dated_1980_and_readable_by_all(project: Path):
    with zipfile.ZipFile(bundle.build("f", "host", project)) as zipped:
        entries = zipped.infolist()
    names = [entry.filename for entry in entries]
    assert names == sorted(names)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}
    assert {"f/handler.py", "f/events/script.lua", "tlfif/names.py", "f/requirements.txt"} < set(
        names
    )


def test_bytecode_is_never_checked_against_its_source(project: Path):
    with zipfile.ZipFile(bundle.build("f", "host", project)) as zipped:
        code = zipped.read(f"f/__pycache__/handler.{sys.implementation.cache_tag}.pyc")
    # PEP 552: the flags word; 1 = hash-based, and unchecked.
    assert int.from_bytes(code[4:8], "little") == 0b01


def test_a_second_build_reuses_the_first(project: Path):
    first = bundle.build("f", "host", project)
    written = first.stat().st_mtime_ns
    assert bundle.build("f", "host", project) == first
    assert first.stat().st_mtime_ns == written


def test_two_builders_at_once_leave_one_whole_bundle(project: Path):
    with ThreadPoolExecutor(4) as threads:
        paths = set(threads.map(lambda _: bundle.build("f", "host", project), range(4)))
    assert list((project / "dist/host").iterdir()) == list(paths)
    with zipfile.ZipFile(paths.pop()) as zipped:
        assert zipped.testzip() is None


@pytest.mark.parametrize(
    "changed",
    [
        "functions/f/handler.py",
        "functions/f/requirements.txt",
        "functions/f/events/script.lua",
        "tlfif/names.py",
        "functions/constraints.txt",
    ],
)
def test_the_hash_follows_everything_that_decides_the_content(project: Path, changed: str):
    before = bundle.source_hash("f", project)
    path = project / changed
    path.write_text(path.read_text() + "\n# changed\n")
    assert bundle.source_hash("f", project) != before


def test_the_hash_ignores_caches_and_hidden_files(project: Path):
    before = bundle.source_hash("f", project)
    for junk in (
        "f/__pycache__/handler.cpython-311.pyc",
        "f/.handler.py.swp",
        "f/handler.py~",
        "other/handler.py",
    ):
        path = project / "functions" / junk
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("junk")
    assert bundle.source_hash("f", project) == before


def test_the_hash_is_that_of_the_tree_and_not_of_the_folder(tmp_path: Path):
    hashes = {bundle.source_hash("f", make_project(tmp_path / name)) for name in ("a", "b")}
    assert len(hashes) == 1


def test_an_unknown_function_is_named_with_those_that_exist(project: Path):
    with pytest.raises(packages.BundleError, match=r"no function 'g' in functions/; there are: f"):
        bundle.build("g", "host", project)


def test_a_syntax_error_is_reported_with_its_file(project: Path):
    (project / "functions/f/handler.py").write_text("def handler(:\n")
    with pytest.raises(packages.BundleError, match=r"does not compile: .*/var/task/f/handler\.py"):
        bundle.build("f", "host", project)


# --- what bundle.toml says


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


# --- packages


def test_equal_requirements_are_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = make_project(tmp_path, requirements="six  # any\n")
    log = tmp_path / "calls"
    find_target = 'while [ "$1" != --target ]; do shift; done'
    script = f'echo "$@" >> {log}; {find_target}; mkdir "$2/six-1.17.0.dist-info"'
    monkeypatch.setattr(packages, "_uv", lambda: fake_uv(tmp_path, script))
    (project / "functions/g").mkdir()
    (project / "functions/g/handler.py").write_text(HANDLER)
    (project / "functions/g/requirements.txt").write_text("# comment\nsix\n")
    bundle.build("f", "host", project)
    bundle.build("g", "host", project)
    assert len(log.read_text().splitlines()) == 1


def test_a_lambda_install_takes_wheels_for_arm64_and_python_3_12_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = make_project(tmp_path)
    monkeypatch.setattr(packages, "_uv", lambda: fake_uv(tmp_path, 'echo "error: $*" >&2; exit 2'))
    platform = r"--python-platform aarch64-manylinux2014 --python-version 3\.12"
    wanted = rf"{platform} --only-binary :all: --constraints .* six"
    with pytest.raises(packages.BundleError, match=wanted):
        packages.install(("six",), project / "functions/constraints.txt", "lambda", project)


def test_an_unreachable_registry_gives_one_line_with_uvs_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = make_project(tmp_path, requirements="six\n")
    causes = r"error: Request failed after 3 retries\n  cause: tcp\n  cause: Connection refused\n"
    script = f'printf "{causes}" >&2; exit 2'
    monkeypatch.setattr(packages, "_uv", lambda: fake_uv(tmp_path, script))
    with pytest.raises(packages.BundleError) as caught:
        bundle.build("f", "host", project)
    assert str(caught.value) == (
        "uv could not install six: error: Request failed after 3 retries; cause: Connection refused"
        " (is the package registry reachable?)"
    )
    assert not list((project / ".cache/packages").iterdir())


def test_a_package_without_a_pin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = make_project(tmp_path, requirements="six\n")
    script = (
        'while [ "$1" != --target ]; do shift; done; mkdir "$2/typing_extensions-4.1.dist-info"'
    )
    monkeypatch.setattr(packages, "_uv", lambda: fake_uv(tmp_path, script))
    with pytest.raises(
        packages.BundleError,
        match=r"'typing_extensions' has no pin in constraints.txt; run 'make pins'",
    ):
        bundle.build("f", "host", project)


def test_installed_packages_lose_their_tests_scripts_and_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = make_project(tmp_path, requirements="six\n")
    kept = [
        "six.py",
        "six-1.17.0.dist-info/METADATA",
        "six-1.17.0.dist-info/licenses/LICENSE",
        "pkg/testing.py",
    ]
    noise = [
        "bin/six",
        "pkg/tests/deep/a.py",
        "pkg/test_a.py",
        "six-1.17.0.dist-info/RECORD",
        ".lock",
    ]
    touch = "; ".join(
        f'mkdir -p "$(dirname "$2/{name}")"; touch "$2/{name}"' for name in kept + noise
    )
    monkeypatch.setattr(
        packages,
        "_uv",
        lambda: fake_uv(tmp_path, f"while [ $1 != --target ]; do shift; done; {touch}"),
    )
    with zipfile.ZipFile(bundle.build("f", "host", project)) as zipped:
        names = set(zipped.namelist())
    assert set(kept) < names
    assert not names & set(noise)


def test_a_missing_uv_gives_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(packages.BundleError, match=r"uv was not found .* python -m pip install uv"):
        packages.install(
            ("six",), make_project(tmp_path) / "functions/constraints.txt", "host", tmp_path
        )


def test_a_lambda_bundle_without_python_3_12_names_the_fix(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    # A shim that exists and refuses to run is not a Python.
    shim = fake_uv(project, "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    monkeypatch.setattr(
        packages, "_python_candidates", lambda: iter(["/nonexistent/python3.12", shim, ""])
    )
    packages._lambda_python.cache_clear()
    with pytest.raises(
        packages.BundleError,
        match=r"needs python3\.12 and none was found; .* uv python install 3\.12",
    ):
        bundle.build("f", "lambda", project)


def test_a_recordings_archives_are_paths_that_nobody_builds(monkeypatch: pytest.MonkeyPatch):
    archives = {}

    def kept(function: str):
        archives[function] = archive(function)
        return archives[function]

    archive = bundle.archive
    monkeypatch.setattr(bundle, "archive", kept)
    monkeypatch.setattr(bundle, "build", lambda *_: pytest.fail("recordings must not build"))
    evaluate("dev")
    path = archives["router"].path
    assert Path(path).match("dist/lambda/router-????????????????.zip")
    assert not Path(path).is_absolute()


def test_an_archive_of_any_other_program_is_built(monkeypatch: pytest.MonkeyPatch):
    built: list[tuple[str, str]] = []
    monkeypatch.setattr(bundle, "build", lambda *what: built.append(what))
    bundle.archive("router")
    assert built == [("router", "lambda")]


def test_the_command_prints_one_line_on_an_error(capsys: pytest.CaptureFixture[str]):
    assert bundle.main(["--target", "host", "nonesuch"]) == 1
    assert capsys.readouterr().err.startswith("error: there is no function 'nonesuch'")

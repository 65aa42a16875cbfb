"""The steps' scripts, the download of a model, and the runner that runs steps in a scratch root."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Sequence
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from bake import weights
from recording.model import ROOT
from tlfif import serving
from tools.bake_check import __main__ as bake_check
from tools.bake_check import document, hub
from tools.bake_check.root import Root
from tools.bake_check.steps import Instead, Runner, StepError

SCRIPTS = sorted((ROOT / "gpu_image" / "bake").glob("*.sh"))
REVISION, BASE_REVISION = "a" * 40, "b" * 40


# --- the scripts


@pytest.mark.story("EC2-001")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_stops_at_its_first_failure(script: Path) -> None:
    assert "\nset -euo pipefail\n" in script.read_text()
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert checked.stderr == ""


@pytest.mark.story("EC2-001")
def test_shellcheck_has_nothing_to_say() -> None:
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if shellcheck is None:
        pytest.skip("no shellcheck in this environment: it has a wheel for x86_64 alone")
    assert subprocess.run([shellcheck, *SCRIPTS], capture_output=True, text=True).stdout == ""


# --- the model


def _repository(folder: Path, **files: bytes) -> dict[str, Path]:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name.replace("__", "/"): folder / name for name in files}


def _gguf(content: bytes = b"GGUF weights", **changes: str) -> serving.Model:
    fields = {
        "repository": "ada/model-GGUF",
        "revision": REVISION,
        "file": "model.gguf",
        "sha256": hashlib.sha256(content).hexdigest(),
        "format": "gguf",
        "served_name": "model",
        "context_tokens": 2_048,
        "tokenizer": "ada/model",
        "tokenizer_revision": BASE_REVISION,
    }
    return serving.Model.model_validate(fields | changes)


@pytest.fixture
def two(tmp_path: Path) -> hub.serving:
    quantised = _repository(tmp_path / "quantised", **{"model.gguf": b"GGUF weights"})
    base = _repository(
        tmp_path / "base",
        **{
            "config.json": b"{}",
            "tokenizer.model": b"pieces",
            "model.safetensors": b"big",
            "onnx__config.json": b"{}",
            "README.md": b"#",
        },
    )
    served = {("ada/model-GGUF", REVISION): quantised, ("ada/model", BASE_REVISION): base}
    return hub.serving(served)


def _files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.story("EC2-002")
def test_a_gguf_comes_with_the_tokenizer_that_it_lacks(two, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with two as url:
        weights.fetch(_gguf(hub=url), folder)
    assert _files(folder) == ["model.gguf", "tokenizer/config.json", "tokenizer/tokenizer.model"]


@pytest.mark.story("EC2-002")
def test_safetensors_are_a_whole_repository(two, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    changes = {"repository": "ada/model", "revision": BASE_REVISION, "format": "safetensors"}
    with two as url:
        weights.fetch(_gguf(**changes, file="", sha256="", hub=url), folder)
    assert _files(folder) == ["config.json", "model.safetensors", "tokenizer.model"]


@pytest.mark.story("EC2-002")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "0" * 64}, r"model\.sha256 = '0{64}': model\.gguf of ada/model-GGUF at a{40}"),
        ({"file": "other.gguf"}, r"other\.gguf: HTTP 404; correct the model's repository"),
        ({"tokenizer_revision": "c" * 40}, r"tree/c{40}\?recursive=true: HTTP 404"),
        ({"tokenizer": "ada/model-GGUF", "tokenizer_revision": REVISION}, "has no config.json"),
    ],
    ids=["hash", "file", "revision", "not a model"],
)
def test_a_model_that_is_not_as_described(two, tmp_path, changes, said) -> None:
    with two as url, pytest.raises(weights.WeightsError, match=said):
        weights.fetch(_gguf(**changes, hub=url), tmp_path / "model")
    # A file of another hash is not left behind for the engine to load.
    assert "sha256" not in changes or _files(tmp_path / "model") == []


@pytest.mark.story("EC2-002")
def test_a_hub_that_fails_for_a_moment_is_asked_again(two, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(weights, "PAUSE_S", 0.0)
    opened, failed = weights._opened, set[str]()

    def at_second_try(url: str) -> Any:
        if url not in failed:
            failed.add(url)
            raise urllib.error.HTTPError(url, 503, "busy", Message(), None)
        return opened(url)

    monkeypatch.setattr(weights, "_opened", at_second_try)
    with two as url:
        weights.fetch(_gguf(hub=url), tmp_path / "model")
    assert len(failed) == 4, "the file, the list, and two that it lists"


@pytest.mark.story("EC2-002")
def test_a_hub_that_stays_away_is_said_so_in_a_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(weights, "PAUSE_S", 0.0)
    with pytest.raises(weights.WeightsError, match=r"^http://127\.0\.0\.1:9/.*refused"):
        weights.fetch(_gguf(hub="http://127.0.0.1:9"), tmp_path / "model")


@pytest.mark.story("EC2-002")
def test_a_hub_lists_nothing_outside_the_model(tmp_path: Path) -> None:
    base = _repository(tmp_path / "base", **{"config.json": b"{}", "evil.json": b"{}"})
    base["../../evil.json"] = base.pop("evil.json")
    changes = {"repository": "ada/model", "revision": BASE_REVISION, "format": "safetensors"}
    with (
        hub.serving({("ada/model", BASE_REVISION): base}) as url,
        pytest.raises(weights.WeightsError, match=r"lists '\.\./\.\./evil\.json'"),
    ):
        weights.fetch(_gguf(**changes, file="", sha256="", hub=url), tmp_path / "in" / "model")
    assert not (tmp_path / "evil.json").exists()


@pytest.mark.story("EC2-002")
def test_a_file_that_is_not_the_listed_one(two, tmp_path: Path, monkeypatch) -> None:
    download = weights._download

    def damaged(url: str, path: Path) -> str:
        digest = download(url, path)
        path.write_bytes(path.read_bytes() + b" ")
        return digest

    monkeypatch.setattr(weights, "_download", damaged)
    with two as url, pytest.raises(weights.WeightsError, match=r"config\.json is not the hub's"):
        weights.fetch(_gguf(hub=url), tmp_path / "model")


# --- the runner


class Here(Root):
    """This machine's own root, with the step's file in a folder."""

    def command(self, argv: Sequence[str]) -> list[str]:
        return [argv[0], *(str(self.path) + word for word in argv[1:])]


Run = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (tmp_path / "root" / "var" / "tmp").mkdir(parents=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "software.zip").write_text("zip")

    def run(steps: str, instead: dict[str, Instead] | None = None) -> list[tuple[str, str]]:
        text = (
            "schemaVersion: '1.0'\nparameters: [{Model: {type: string}}]\n"
            "phases:\n  - name: build\n    steps:\n" + steps
        )
        runner = Runner(
            root=Here(path=tmp_path / "root"),
            bucket=tmp_path / "bucket",
            values={"Model": '{"a": "it\'s $HOME"}'},
            environment={"OUT": str(tmp_path / "out")},
            logs=tmp_path / "logs",
        )
        outcomes = runner.run(document.read(text), instead or {})
        return [(outcome.step.name, outcome.did) for outcome in outcomes]

    return run


def step(name: str, script: str, timeout_s: int = 10, action: str = "ExecuteBash") -> str:
    inputs = f"{{commands: [{script!r}]}}" if action == "ExecuteBash" else script
    return (
        f"      - {{name: {name}, action: {action}, timeoutSeconds: {timeout_s},"
        f" onFailure: Abort, inputs: {inputs}}}\n"
    )


def test_steps_run_in_order_with_their_parameters(run: Run, tmp_path: Path) -> None:
    ran = run(
        step("Write", "[{path: /srv/model.json, content: '{{ Model }}'}]", action="CreateFile")
        + step(
            "Copy", "[{source: 's3://b/software.zip', destination: /srv/s.zip}]", 5, "S3Download"
        )
        + step("Bash", 'echo "$HOME" > $OUT')
    )
    assert ran == [("Write", "ran"), ("Copy", "ran"), ("Bash", "ran")]
    assert (tmp_path / "root/srv/model.json").read_text() == '{"a": "it\'s $HOME"}'
    assert (tmp_path / "root/srv/s.zip").read_text() == "zip"
    assert (tmp_path / "out").read_text() == "/root\n"


def test_a_failing_step_ends_the_run_by_its_name(run: Run, tmp_path: Path) -> None:
    steps = step("First", "echo whatever") + step("Second", "echo broken >&2; exit 3")
    with pytest.raises(StepError, match=r"^Second: exit 3\nbroken$"):
        run(steps + step("Third", "touch $OUT"))
    assert not (tmp_path / "out").exists()


def test_a_step_past_its_limit_is_ended_with_all_that_it_started(run: Run, tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"^Slow: not done after 1 s"):
        run(step("Slow", "sleep 60 & echo $! > $OUT; wait", 1))
    pid = int((tmp_path / "out").read_text())
    give_up = time.monotonic() + 5
    while _alive(pid) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not _alive(pid)


def test_a_step_may_be_left_out_or_stood_in_for(run: Run, tmp_path: Path) -> None:
    there = Instead(why="no GPU", run=lambda: (tmp_path / "out").touch())
    ran = run(
        step("Driver", "exit 1") + step("Engine", "exit 1"),
        {"Driver": Instead(why="no GPU"), "Engine": there},
    )
    assert ran == [("Driver", "skipped"), ("Engine", "stand-in")]
    assert (tmp_path / "out").exists()


def test_a_missing_object_is_named(run: Run) -> None:
    steps = step("Copy", "[{source: 's3://b/other.zip', destination: /srv/s.zip}]", 5, "S3Download")
    with pytest.raises(StepError, match=r"^Copy: .*other\.zip"):
        run(steps)


def test_what_does_not_run_here_is_in_the_document(tmp_path: Path) -> None:
    names = {each.name for each in document.read(document.COMPONENT.read_text())}
    for vllm in (False, True):
        instead = bake_check._instead(Root(path=tmp_path), vllm)
        assert instead.keys() <= names
        assert all(each.why for each in instead.values())
    # With the real vLLM, nothing but Ubuntu's driver and AWS's agent is left out.
    assert {name.removeprefix("Install").removeprefix("Validate") for name in instead} == {
        "Driver",
        "Agent",
    }


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_however_it_ends_no_mount_and_no_process_is_left(tmp_path: Path, number: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    script = (
        f"mount -t tmpfs tmpfs {tmp_path} && touch {tmp_path}/inside && sleep 47.11 & "
        f"while [ ! -e {tmp_path}/inside ]; do sleep 0.02; done; echo up; wait"
    )
    argv = f"from tools.bake_check import namespaces as n; n.run(['bash', '-c', {script!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", argv], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "up\n":
            pytest.skip("this machine gives no namespaces")
        [child] = _children(process.pid)
        assert str(tmp_path) not in Path("/proc/mounts").read_text()
        os.kill(process.pid, number)
        give_up = time.monotonic() + 5
        while _alive(child) and time.monotonic() < give_up:
            time.sleep(0.05)
        assert not _alive(child)
    finally:
        process.kill()
        process.communicate()
    assert _files(tmp_path) == []


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"

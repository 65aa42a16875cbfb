"""The launcher of vLLM: what it starts, where, and what it says where it cannot (EC2-002)."""

import json
import re
import subprocess
import sys
import threading
import time
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

import serve
from recording.model import ROOT
from serve import CannotServeError
from tlfif import names, serving

pytestmark = pytest.mark.story("EC2-002", "EC2-005")

MODEL = {
    "repository": "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
    "revision": "main",
    "file": "tinyllama.gguf",
    "sha256": "0" * 64,
    "format": "gguf",
    "served_name": "tinyllama",
    "context_tokens": 2048,
    "tokenizer": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "tokenizer_revision": "main",
}


def driver(folder: Path, name: str) -> Path:
    """The driver's folder of GPUs, as it is when it has found one."""
    told = folder / "gpus" / "0000:00:1e.0" / "information"
    told.parent.mkdir(parents=True)
    told.write_text(f"Model: \t\t {name}\nIRQ:   \t\t 24\nGPU UUID: \t GPU-????????\n")
    return folder / "gpus"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a model, a GPU and a vLLM that says how it was started."""
    vllm = tmp_path / "vllm"
    vllm.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv, dict(os.environ)]))"
    )
    vllm.chmod(0o755)
    model = tmp_path / "model.json"
    model.write_text(json.dumps(MODEL))
    monkeypatch.setattr(serving, "MODEL_FILE", model)
    monkeypatch.setattr(serve, "VLLM", vllm)
    monkeypatch.setattr(serve, "DEVICES", (str(tmp_path),))
    monkeypatch.setattr(serve.gpu, "__defaults__", (driver(tmp_path, "Tesla T4"), 0.1))
    return tmp_path


def test_it_becomes_vllm_with_the_models_and_the_gpus_arguments(node: Path) -> None:
    code = (
        "import serve, sys; from pathlib import Path; from tlfif import serving; "
        "serving.MODEL_FILE, serve.VLLM, serve.DEVICES = Path(sys.argv[1]), Path(sys.argv[2]), (); "
        "serve.gpu.__defaults__ = (Path(sys.argv[3]), 0.1); serve.main()"
    )
    argv = [sys.executable, "-c", code, *(str(node / part) for part in ("model.json", "vllm"))]
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'gpu_image'}", "PATH": "/usr/bin"}
    with subprocess.Popen(
        [*argv, str(node / "gpus")], env=env, stdout=subprocess.PIPE, text=True
    ) as process:
        *said, started = process.communicate()[0].splitlines()
    assert process.returncode == 0
    assert all(line.startswith(names.LAUNCHER) for line in said)
    assert said[0].startswith(names.LAUNCHER_BEGINS)
    (program, *arguments), environment = json.loads(started)
    assert program == str(node / "vllm")
    assert arguments == [
        "serve",
        *serving.arguments(serving.Model.model_validate(MODEL), serving.T4),
        *("--host", "127.0.0.1", "--port", "8000"),
    ]
    assert "PYTHONPATH" not in environment, "ours is not vLLM's"
    assert environment["HF_HUB_OFFLINE"] == environment["VLLM_NO_USAGE_STATS"] == "1"
    caches = [environment[name] for name in ("VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "HOME")]
    assert all(cache.startswith("/srv/tl-fif/cache/") for cache in caches)


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        serve.main()
    assert ended.value.code == 1
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("serve: cannot start vLLM: ")
    return line


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, r"model\.json: No such file.*; bake the image anew"),
        ("{", r"model\.json: it = .*Invalid JSON.*; bake the image anew"),
        ({**MODEL, "format": "onnx"}, r"model\.json: format = 'onnx': .*'gguf'.*; bake"),
        ({**MODEL, "context_tokens": "long"}, r"model\.json: context_tokens = 'long': .*integer"),
    ],
)
def test_a_model_that_it_cannot_read_is_named(
    node: Path, capsys: pytest.CaptureFixture[str], text: Any, complaint: str
) -> None:
    path = node / "model.json"
    path.unlink()
    if text is not None:
        path.write_text(text if isinstance(text, str) else json.dumps(text))
    assert re.search(complaint, refused(capsys))


def test_a_machine_without_a_gpu_says_so(
    node: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(node))
    for path in (node / "gpus").rglob("information"):
        path.unlink()
    assert re.search(r"no GPU in .*gpus after 0\.1 s: .*driver.*gpu:instanceType", refused(capsys))


def test_an_image_without_vllm_says_so(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (node / "vllm").unlink()
    assert re.search(r"vllm: No such file or directory; bake the image anew", refused(capsys))


def test_a_driver_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    late = threading.Timer(0.3, lambda: driver(tmp_path, "NVIDIA L4"))
    began = time.monotonic()
    late.start()
    assert serve.gpu(tmp_path / "gpus", patience_s=20) == "NVIDIA L4"
    assert 0.3 <= time.monotonic() - began < 10


def test_the_drivers_program_names_a_gpu_that_its_files_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho Tesla T4\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert serve.gpu(tmp_path / "gpus", patience_s=0) == "Tesla T4"


def test_devices_are_made_by_the_drivers_program_or_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "nvidia0"
    program = tmp_path / "nvidia-modprobe"
    program.write_text(f"#!/bin/sh\ntouch {device}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    serve.wait_for((str(device),), patience_s=5)
    with pytest.raises(CannotServeError, match=r"no .*nvidia1 after 0\.1 s: the NVIDIA driver"):
        serve.wait_for((str(device), str(tmp_path / "nvidia1")), patience_s=0.1)


def test_supervisord_starts_the_launcher_and_nothing_beside_it() -> None:
    conf = RawConfigParser()
    conf.read(ROOT / "gpu_image" / "supervisord.conf")
    program = conf["program:vllm"]
    assert program["command"].split()[1:] == ["/srv/tl-fif/gpu_image/serve.py"]
    assert program["environment"] == 'PYTHONPATH="/srv/tl-fif"'

"""Installs vLLM in an environment of its own and makes the model it serves, both once, below
.cache/.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from local.node import model_file
from recording.model import ROOT

HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "vllm"
PYTHON, MODEL = CACHE / "venv" / "bin" / "python", CACHE / "model"
PINS = [HERE / "requirements.txt", HERE / "overrides.txt"]


def prepare() -> None:
    """Does what is not done yet; raises SystemExit with the last words of what failed."""
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in PINS)).hexdigest()
    stamp = CACHE / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        _say("installing vLLM, once: 2 GB to fetch, 6 GB on disk")
        shutil.rmtree(CACHE / "venv", ignore_errors=True)
        uv = [sys.executable, "-m", "uv"]
        _run(*uv, "venv", "--quiet", "--python", sys.executable, str(CACHE / "venv"))
        install = [*uv, "pip", "install", "--quiet", "--python", str(PYTHON)]
        _run(*install, "--override", str(PINS[1]), "-r", str(PINS[0]))
        stamp.write_text(wanted)
    if not MODEL.exists():
        _say("converting the model, once")
        source = model_file.prepare().resolve()
        _run(str(PYTHON), str(HERE / "convert.py"), str(source), str(MODEL))


def _run(*argv: str) -> None:
    began = time.monotonic()
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(argv, stdout=-1, stderr=subprocess.STDOUT, text=True, env=env)
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-5:])
        raise SystemExit(f"vllm-check: {Path(argv[0]).name} {argv[1]} failed:\n{tail}")
    _say(f"done after {time.monotonic() - began:.0f} s")


def _say(what: str) -> None:
    print(f"vllm-check: {what}", file=sys.stderr, flush=True)

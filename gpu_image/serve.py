"""Starts vLLM on the node: with the image's model, on the GPU that this machine has.

[program:vllm] of supervisord.conf runs it; it becomes vLLM, so that it is what supervisord stops.
What it says begins with names.LAUNCHER; why it cannot start vLLM, the watcher repeats.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from tlfif import names, serving

VLLM = serving.ROOT / "vllm" / "bin" / "vllm"
CACHE = serving.ROOT / "cache"
GPUS = Path("/proc/driver/nvidia/gpus")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# What CUDA opens; the driver makes them a moment after it has found the GPU.
DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm")
PATIENCE_S, EVERY_S = 60.0, 0.1


class CannotServeError(Exception):
    """vLLM cannot be started; the message says why, and the fix."""


def main() -> None:
    """Becomes vLLM; exits with 1 where it cannot."""
    _say(f"boot {BOOT_ID.read_text().strip()}")
    try:
        argv = command(model(serving.MODEL_FILE), serving.gpu_named(gpu()))
        wait_for(DEVICES)
        _say(" ".join(argv))
        os.execve(argv[0], argv, environment(os.environ))
    except CannotServeError as error:
        _say(f"cannot start vLLM: {error}")
    except OSError as error:
        _say(f"cannot start vLLM: {VLLM}: {error.strerror}; bake the image anew")
    sys.exit(1)


def command(model: serving.Model, gpu: serving.Gpu) -> list[str]:
    """vLLM's command line."""
    where = ["--host", "127.0.0.1", "--port", str(names.MODEL_PORT)]
    return [str(VLLM), "serve", *serving.arguments(model, gpu), *where]


def environment(given: Mapping[str, str], cache: Path = CACHE) -> dict[str, str]:
    """vLLM's environment: no network, nothing told to anybody, and all that it compiles kept."""
    return {
        # Our folders are no packages of vLLM's.
        **{name: value for name, value in given.items() if name != "PYTHONPATH"},
        "HOME": str(cache / "home"),
        "XDG_CACHE_HOME": str(cache),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        # Its own place, /tmp, is emptied by each boot.
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_NO_USAGE_STATS": "1",
        # FlashInfer would compile its kernels at every start.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
    }


def model(path: Path) -> serving.Model:
    """The model that the image was baked with. Raises CannotServeError."""
    try:
        return serving.Model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CannotServeError(f"{path}: {error.strerror}; bake the image anew") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise CannotServeError(
            f"{path}: {where} = {first['input']!r:.80}: {first['msg']}; bake the image anew"
        ) from error


def gpu(folder: Path = GPUS, patience_s: float = PATIENCE_S) -> str:
    """What the driver calls the GPU. Raises CannotServeError where it finds none in time."""

    def found() -> str:
        for path in sorted(folder.glob("*/information")):
            for line in path.read_text().splitlines():
                key, _, value = line.partition(":")
                if key == "Model" and value.strip():
                    return value.strip()
        return ""

    name = _soon(found, patience_s) or _asked()
    if not name:
        raise CannotServeError(
            f"no GPU in {folder} after {patience_s:g} s: the NVIDIA driver is not loaded "
            "(dmesg and lsmod say why), or gpu:instanceType is a type without one"
        )
    return name


def _asked() -> str:
    """The same from the driver's own program, which may take seconds; '' where it knows none."""
    return _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").partition("\n")[0]


def wait_for(devices: tuple[str, ...], patience_s: float = PATIENCE_S) -> None:
    """Returns when these are there. Raises CannotServeError when they are not in time."""

    def missing() -> list[str]:
        return [path for path in devices if not Path(path).exists()]

    if missing():
        # The driver's own way to make them for who is not root.
        _output("nvidia-modprobe", "-c", "0", "-u")
    if not _soon(lambda: "all" if not missing() else "", patience_s):
        raise CannotServeError(
            f"no {', '.join(missing())} after {patience_s:g} s: the NVIDIA driver is not up "
            "(dmesg and journalctl -u nvidia-persistenced say why)"
        )


def _soon(found: Callable[[], str], patience_s: float) -> str:
    """What is found, as soon as it is; '' when it is not in time."""
    give_up = time.monotonic() + patience_s
    while not (what := found()) and time.monotonic() < give_up:
        time.sleep(EVERY_S)
    return what


def _output(*argv: str) -> str:
    """What one of the driver's programs says; '' where it is not there or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _say(what: str) -> None:
    print(f"{names.LAUNCHER}{what}", flush=True)


if __name__ == "__main__":
    main()

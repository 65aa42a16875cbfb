"""vLLM's API server as the node starts it, as far as a CPU can, and the harm that is done to it."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from bench.vllm.setup import CACHE, MODEL, PYTHON
from local.node.node import LocalNode
from tlfif import names

CORE = "VLLM::EngineCore"
_FLAGS = {
    "--served-model-name": names.SERVED_MODEL,
    "--host": "127.0.0.1",
    "--dtype": "float32",
    "--max-model-len": str(names.CONTEXT_TOKENS),
    "--max-num-seqs": "32",
    "--max-num-batched-tokens": "2048",
    "--generation-config": "vllm",
}
_ENVIRONMENT = {
    "HOME": str(CACHE),
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CACHE_ROOT": str(CACHE / "cache"),
}


def command(port: int | str, folder: Path = CACHE) -> Sequence[str]:
    """What supervisord runs as the model server; `folder` has the environment and the model."""
    # The project's folders are no packages of vLLM's.
    env = ["/usr/bin/env", "-u", "PYTHONPATH", *(f"{k}={v}" for k, v in _ENVIRONMENT.items())]
    flags = [word for flag in _FLAGS.items() for word in flag]
    api = ["-m", "vllm.entrypoints.openai.api_server", "--enforce-eager", "--port", str(port)]
    python = folder / PYTHON.relative_to(CACHE)
    return [*env, str(python), *api, *flags, "--model", str(folder / MODEL.name)]


async def running(url: str) -> int:
    """How many requests it generates for or lets wait, by its own metrics."""
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
        lines = (await client.get("/metrics")).text.splitlines()
    counts = ("vllm:num_requests_running", "vllm:num_requests_waiting{")
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(counts))


def harm_core(node: LocalNode, number: signal.Signals) -> None:
    """Sends a signal to the engine core, a process below the API server."""
    for pid in _group(node.pids["model"]):
        with contextlib.suppress(OSError):
            if CORE in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, number)
                return
    raise AssertionError(f"no {CORE} below process {node.pids['model']}")


def _group(leader: int) -> Iterator[int]:
    """The processes of a process group."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(path.name)) == leader:
                yield int(path.name)

"""vLLM's API server as the node starts it, as far as a CPU can, and the harm that is done to it."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from bench.vllm.setup import CACHE, MODEL, PYTHON
from local.node.node import LocalNode
from tlfif import names, serving

CORE = "VLLM::EngineCore"
_SERVED = serving.Model(
    repository="",
    revision="",
    file="",
    sha256="",
    format="safetensors",
    served_name=names.DEFAULT_SERVED_MODEL,
    context_tokens=names.DEFAULT_CONTEXT_TOKENS,
)
# What a CPU has otherwise: its numbers, and no GPU's memory to share.
_INSTEAD = {"--dtype": "float32"}
_NOT_HERE = ("--gpu-memory-utilization",)
# Beside what gpu_image/supervisord.conf sets.
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
    api = ["-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    return [*env, str(PYTHON), *api, "--model", *arguments()]


def arguments() -> Sequence[str]:
    """A node's, on a GPU that wants no other attention than vLLM's own, as far as a CPU has
    them.
    """
    words = list(serving.arguments(_SERVED, serving.L4, MODEL))
    for option, value in _INSTEAD.items():
        words[words.index(option) + 1] = value
    for option in _NOT_HERE:
        at = words.index(option)
        del words[at : at + 2]
    return words


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

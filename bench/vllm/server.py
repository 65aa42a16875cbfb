"""vLLM's API server as the node starts it, as far as a CPU can, and the harm that is done to it."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from bench.vllm.setup import MODEL, PYTHON
from local.machine.ports import free_port
from local.machine.processes import Process, Processes
from recording.model import ROOT
from tlfif import names

READY_TIMEOUT_S = 300
# Seconds: the first completion compiles kernels, long after /health says that all is well.
FIRST_TIMEOUT_S = 120
CORE = "VLLM::EngineCore"


class Vllm:
    """One server; `start` again after it has ended, on the same port."""

    def __init__(self, procs: Processes) -> None:
        self._procs, self._port = procs, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.process: Process | None = None

    async def start(self) -> None:
        """Returns when a real completion has come."""
        flags = {
            "--model": str(MODEL),
            "--served-model-name": names.SERVED_MODEL,
            "--host": "127.0.0.1",
            "--port": str(self._port),
            "--dtype": "float32",
            "--max-model-len": str(names.CONTEXT_TOKENS),
            "--max-num-seqs": "32",
            "--max-num-batched-tokens": "2048",
            "--generation-config": "vllm",
        }
        argv = [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
        argv += [word for flag in flags.items() for word in flag]
        env = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CACHE_ROOT": str(ROOT / ".cache" / "vllm" / "cache"),
        }
        self.process = await self._procs.start(
            "vllm", argv, env=env, cwd=MODEL, ready=self._answers, timeout=READY_TIMEOUT_S
        )

    async def _answers(self) -> bool:
        async with self._client(FIRST_TIMEOUT_S) as client:
            hello = {"model": names.SERVED_MODEL, "prompt": "Hi", "max_tokens": 1}
            return (await client.post("/v1/completions", json=hello)).status_code == 200

    async def stop(self) -> None:
        """Ends it, also one whose core is stopped."""
        if self.process is not None:
            await self.process.stop(5)

    async def running(self) -> int:
        """How many requests it generates for or lets wait, by its own metrics."""
        async with self._client(10) as client:
            lines = (await client.get("/metrics")).text.splitlines()
        counts = ("vllm:num_requests_running", "vllm:num_requests_waiting{")
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(counts))

    @property
    def ended(self) -> bool:
        """Whether the API server is gone, or was never there."""
        return self.process is None or self.process.returncode is not None

    def harm(self, number: signal.Signals) -> None:
        """Sends a signal to its engine core, a process below the API server."""
        assert self.process is not None
        for pid in _group(self.process.pid):
            with contextlib.suppress(OSError):
                if CORE in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, number)
                    return
        sys.exit(f"vllm-check: no {CORE} below process {self.process.pid}")

    def _client(self, timeout_s: float) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=timeout_s, trust_env=False)


def _group(leader: int) -> Iterator[int]:
    """The processes of a process group."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(path.name)) == leader:
                yield int(path.name)

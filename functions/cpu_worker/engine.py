"""The engine as the lane sees it: a process on loopback that loads weights and may be ended."""

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cpu_worker.failure import LaneFailure
from tlfif import names
from tlfif.log import log

LOOPBACK = "127.0.0.1"
# What a Lambda function gets one processor for.
MB_PER_PROCESSOR = 1_769
LOAD_TIMEOUT_S = 120.0


class Engine(Protocol):
    """What answers on `url` once it has loaded; calls block, and are made one at a time."""

    @property
    def url(self) -> str:
        """Where it answers, also after another start."""
        ...

    @property
    def is_up(self) -> bool:
        """Whether it has loaded and its process lives."""
        ...

    def start(self) -> None:
        """Begins, before there are weights."""
        ...

    def load(self, path: Path) -> None:
        """Returns when it has loaded them. Raises LaneFailure."""
        ...

    def stop(self) -> None:
        """Ends it at once, whatever it does."""
        ...


def threads(environ: Mapping[str, str] = os.environ) -> int:
    """As many as the function has processors, of which memory buys shares."""
    memory_mb = int(environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 0))
    bought = math.ceil(memory_mb / MB_PER_PROCESSOR)
    there = os.cpu_count() or 1
    return min(bought, there) if bought else there


class Llama:
    """llama.cpp in a child process (llama.py); `slots` generations at once, each with
    `context_tokens`, of what it calls `model`.

    It ends with this process, however that ends: its stdin does.
    """

    def __init__(
        self,
        slots: int,
        model: str = names.DEFAULT_SERVED_MODEL,
        context_tokens: int = names.DEFAULT_CONTEXT_TOKENS,
        load_timeout_s: float = LOAD_TIMEOUT_S,
    ):
        self._slots, self._timeout_s = slots, load_timeout_s
        self._model, self._context_tokens = model, context_tokens
        self._port = _free_port()
        self._process: subprocess.Popen[str] | None = None
        self._loaded = False

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def is_up(self) -> bool:
        return self._loaded and self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Begins to read its own code; a process that is there already stays."""
        if self._process is not None and self._process.poll() is None:
            return
        self._loaded = False
        self._process = self._spawn()

    def _spawn(self) -> "subprocess.Popen[str]":
        # -S, as in the function itself: what the bundle lacks is missed.
        return subprocess.Popen(
            [sys.executable, "-S", "-m", "cpu_worker.llama"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def load(self, path: Path) -> None:
        self.start()
        process, begun = self._process, time.monotonic()
        assert process is not None
        orders = {
            "path": str(path),
            "port": self._port,
            "slots": self._slots,
            "threads": threads(),
            "model": self._model,
            "context_tokens": self._context_tokens,
        }
        # A process that does not answer is ended, which ends the wait for its answer.
        timer = threading.Timer(self._timeout_s, process.kill)
        timer.start()
        try:
            answer = _ask(process, orders)
        finally:
            timer.cancel()
        if "url" not in answer:
            self.stop()
            ended = answer.get("why") or _how(process.wait())
            waited = time.monotonic() - begun
            raise LaneFailure(
                "EngineFailed", f"the engine did not load the weights in {waited:.0f} s: {ended}"
            )
        self._loaded = True
        log("engine_loaded", ms=int((time.monotonic() - begun) * 1000), **orders)

    def stop(self) -> None:
        process, self._process, self._loaded = self._process, None, False
        if process is None:
            return
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close() if pipe else None
        log("engine_ended", how=_how(code))


def _ask(process: "subprocess.Popen[str]", orders: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        print(json.dumps(orders), file=process.stdin, flush=True)
    except OSError:
        return {}
    line = process.stdout.readline()
    return json.loads(line) if line else {}


def _how(code: int) -> str:
    if code == -9:
        return "it was killed, for want of memory (cpu:memoryMb) or because it did not answer"
    return f"its process ended with {code}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]

"""A local GPU node: model server and watcher run while EC2 says that it runs; when it is stopped,
nothing is left.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from local.machine.ports import LOOPBACK, free_port
from local.machine.processes import Process, Processes
from recording.model import ROOT
from tlfif import names

# As supervisord.conf on the node: the watcher has time to finish or hand back, the model server
# needs none.
WATCHER_GRACE_S, MODEL_GRACE_S = 40.0, 5.0
FIRST_RESTART_S, LAST_RESTART_S, STEADY_S = 0.2, 10.0, 10.0

_log = logging.getLogger(__name__)


class LocalNode:
    """One instance of the stack; it follows EC2 by `endpoint.on_instance_state(node.on_state)`."""

    def __init__(
        self,
        procs: Processes,
        instance_id: str,
        *,
        imds_endpoint: str,
        aws_endpoint: str,
        slots: int = 1,
        model: str = names.SERVED_MODEL,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ):
        """`slots` are the model server's, from its next start on; `environment` adds TLFIF_*
        overrides to the watcher's, such as the clock's.

        `on_line` receives the watcher's log, one JSON object a line.
        """
        self.instance_id = instance_id
        self.slots = slots
        self._procs, self._model, self._on_line = procs, model, on_line
        self._imds_endpoint, self._aws_endpoint = imds_endpoint, aws_endpoint
        self._overrides = dict(environment or {})
        self._programs: list[_Program] = []
        self._closed = False

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now, by program: `model` and `watcher`; empty when the node is
        off.
        """
        return {program.kind: program.pid for program in self._programs if program.pid is not None}

    async def on_state(self, instance_id: str, state: str) -> None:
        """Follows EC2's state; when this returns for `stopping`, the processes are gone."""
        if self._closed or instance_id != self.instance_id:
            return
        if state == "running":
            await self._start()
        elif state in ("stopping", "stopped", "shutting-down", "terminated"):
            await self._stop()

    async def close(self) -> None:
        """Ends the processes at once, and follows EC2 no more."""
        self._closed = True
        await self._stop(watcher_grace_s=0, model_grace_s=0)

    async def _start(self) -> None:
        await self._stop()
        port = free_port()
        self._programs = [self._model_server(port), self._watcher(port)]

    def _model_server(self, port: int) -> "_Program":
        argv = [sys.executable, "-m", "local.node.model_server", "--port", str(port)]
        argv += ["--model-name", self._model, "--slots", str(self.slots)]
        return _Program(self._procs, "model", self.instance_id, argv, _environment(ROOT))

    def _watcher(self, model_port: int) -> "_Program":
        env = {
            **_environment(ROOT, ROOT / "gpu_image"),
            # The role's keys come from the metadata service, never from whoever runs the local
            # cloud.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._imds_endpoint,
            "AWS_ENDPOINT_URL": self._aws_endpoint,
            "TLFIF_MODEL_URL": f"http://{LOOPBACK}:{model_port}",
            # This machine is older than the node.
            "TLFIF_BOOTED_AT": str(time.monotonic()),
            **self._overrides,
        }
        argv = [sys.executable, "-m", "watcher"]
        return _Program(self._procs, "watcher", self.instance_id, argv, env, self._on_line)

    async def _stop(
        self, watcher_grace_s: float = WATCHER_GRACE_S, model_grace_s: float = MODEL_GRACE_S
    ) -> None:
        """The watcher first: it may be finishing an answer."""
        for program in reversed(self._programs):
            await program.stop(watcher_grace_s if program.kind == "watcher" else model_grace_s)
        self._programs = []


def _environment(*roots: Path) -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath)
    return {"PATH": path, "PYTHONPATH": os.pathsep.join(map(str, roots)), "PYTHONUNBUFFERED": "1"}


class _Program:
    """One supervised process: restarted when it ends by itself, a little later each time, as
    supervisord does.
    """

    def __init__(
        self,
        procs: Processes,
        kind: str,
        instance_id: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
    ):
        self.kind = kind
        self._procs, self._argv, self._env, self._on_line = procs, argv, env, on_line
        self._name = f"{instance_id}-{kind}"
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._running = asyncio.create_task(self._run(), name=self._name)

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, after the grace SIGKILL; returns when nothing is left."""
        self._stopping.set()
        if self._process is not None:
            await self._process.stop(grace_s)
        await self._running

    async def _run(self) -> None:
        pause_s = FIRST_RESTART_S
        while not self._stopping.is_set():
            begun = time.monotonic()
            self._process = await self._procs.start(
                self._name, self._argv, env=self._env, cwd=ROOT, on_line=self._on_line
            )
            if self._stopping.is_set():
                await self._process.stop(0)
            code = await self._process.wait()
            if not self._stopping.is_set():
                _log.warning("%s ended with %s, see %s", self._name, code, self._process.log)
            steady = time.monotonic() - begun > STEADY_S
            pause_s = FIRST_RESTART_S if steady else min(2 * pause_s, LAST_RESTART_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s)

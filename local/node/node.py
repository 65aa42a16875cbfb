"""A local GPU node: the programs of gpu_image/supervisord.conf, under a real supervisord, run while
EC2 says that the node runs; when it is stopped, nothing is left.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from xmlrpc.client import Fault

from local.machine.ports import LOOPBACK, free_port
from local.machine.processes import Process, Processes
from local.node import proxy
from local.node.proxy import Proxy
from local.node.supervisor import Program, Supervisor
from recording.model import ROOT
from tlfif import names

# Longer than supervisord gives watcher and model server together.
GRACE_S = 60.0
# What the programs of supervisord.conf are called here.
NAMES = {"vllm": "model", "watcher": "watcher", "nginx": "nginx"}
GPU_IMAGE = ROOT / "gpu_image"
# So long may the folder of temporary folders be, that a socket fits: supervisord makes it under a
# longer name first.
SHORT = 50

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
        commands: Mapping[str, Sequence[str]] | None = None,
        startsecs: int | None = None,
        tls: bool = False,
        on_line: Callable[[str], None] | None = None,
        on_power_off: Callable[[str], Awaitable[None]] | None = None,
    ):
        """`slots` are the model server's, from its next start on; `environment` adds TLFIF_*
        overrides to the watcher's, such as the clock's.

        `commands` are others than the usual ones, by program (`model`, `watcher`), where `{port}`
        is the model server's; `startsecs` is supervisord's, None: as the real node's. `tls`: with
        nginx in front of the engine, where there is one. `on_line` receives the watcher's log, one
        JSON object a line;
        `on_power_off` hears the instance's id when the machine went down by itself.
        """
        self.instance_id = instance_id
        self.slots = slots
        self._procs, self._model, self._on_line = procs, model, on_line
        self._imds_endpoint, self._aws_endpoint = imds_endpoint, aws_endpoint
        self._overrides, self._commands = dict(environment or {}), dict(commands or {})
        self._startsecs, self._on_power_off = startsecs, on_power_off
        self._nginx = proxy.installed() if tls else None
        self.proxy: Proxy | None = None
        self.engine_url = ""
        self._supervisor: Supervisor | None = None
        self._process: Process | None = None
        self._telling: set[asyncio.Future[None]] = set()
        self._stopping = self._closed = False

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now, by program: `model`, `watcher` and, with TLS, `nginx`; empty
        when the node is off.
        """
        if self._process is None or self._process.returncode is not None:
            return {}
        assert self._supervisor is not None
        pids = self._supervisor.pids()
        return {NAMES[name]: pid for name, pid in pids.items() if name in NAMES}

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
        await self._stop(grace_s=0)

    async def _start(self) -> None:
        await self._stop()
        self._stopping = False
        folder = Path(tempfile.mkdtemp(prefix="tlfif-node-", dir=_short_folder()))
        log = self._procs.log_dir / f"{self.instance_id}-supervisord.log"
        log.unlink(missing_ok=True)
        self._supervisor = supervisor = Supervisor(folder=folder, log=log)
        port = free_port()
        listener = [sys.executable, "-I", "-S", str(GPU_IMAGE / "power_off.py")]
        self.engine_url = f"http://{LOOPBACK}:{port}"
        programs = {**self._programs(port), **self._tls(port, folder)}
        path = supervisor.configure(programs, listener, self._startsecs)
        self._process = await self._procs.start(
            f"{self.instance_id}-watcher",
            [sys.executable, "-m", "supervisor.supervisord", "-c", path],
            env=self._environment(folder),
            cwd=ROOT,
            on_line=self._on_line,
            on_exit=self._on_exit,
        )
        await asyncio.to_thread(supervisor.hurry)

    def _programs(self, port: int) -> dict[str, Program]:
        model = [sys.executable, "-m", "local.node.model_server", "--port", "{port}"]
        model += ["--model-name", self._model, "--slots", str(self.slots)]
        usual = {"model": model, "watcher": [sys.executable, "-m", "watcher"]}
        commands = {**usual, **self._commands}
        logs = {
            "model": self._procs.log_dir / f"{self.instance_id}-model.log",
            "watcher": Path("/dev/stdout"),
        }
        return {
            name: Program(
                command=[word.replace("{port}", str(port)) for word in commands[kind]],
                log=logs[kind],
            )
            for name, kind in NAMES.items()
            if kind in commands
        }

    def _tls(self, port: int, folder: Path) -> dict[str, Program]:
        """nginx before the engine; nothing where it is not wanted or not installed."""
        if self._nginx is None:
            return {}
        self.proxy = Proxy(
            nginx=self._nginx,
            port=free_port(),
            engine_port=port,
            folder=folder,
            # The node's disk, which a stop leaves as it is.
            certificate=self._procs.log_dir / f"{self.instance_id}-tls" / "node.pem",
        )
        log = self._procs.log_dir / f"{self.instance_id}-nginx.log"
        return {"nginx": Program(command=self.proxy.configure(), log=log)}

    def _environment(self, folder: Path) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(GPU_IMAGE)]),
            "PYTHONUNBUFFERED": "1",
            # The role's keys come from the metadata service, never from whoever runs the local
            # cloud.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._imds_endpoint,
            "AWS_ENDPOINT_URL": self._aws_endpoint,
            "TLFIF_MODEL_URL": self.engine_url,
            "TLFIF_ENGINE": "llama.cpp",
            "TLFIF_STATE_FOLDER": str(folder),
            # This machine is older than the node.
            "TLFIF_BOOTED_AT": str(time.monotonic()),
            **self._overrides,
        }

    async def _stop(self, grace_s: float = GRACE_S) -> None:
        """As a machine that shuts down: the watcher first, which may be finishing an answer."""
        process, supervisor = self._process, self._supervisor
        if process is None or supervisor is None:
            return
        self._stopping = True
        if grace_s:
            # It may be on its way out already.
            with contextlib.suppress(OSError, HTTPException, Fault):
                await asyncio.to_thread(supervisor.shut_down)
        await process.stop(grace_s)
        shutil.rmtree(supervisor.folder, ignore_errors=True)
        self._process = self._supervisor = self.proxy = None

    def _on_exit(self, code: int) -> None:
        """supervisord ended: by itself, unless it was stopped here. Then so does its machine."""
        if self._stopping:
            return
        _log.warning("%s powers off: supervisord ended with %s", self.instance_id, code)
        if self._on_power_off is not None:
            telling = asyncio.ensure_future(self._on_power_off(self.instance_id))
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)


def _short_folder() -> str:
    """Where temporary folders are, or /tmp: a socket's path has a hundred characters at most."""
    usual = tempfile.gettempdir()
    return usual if len(usual) <= SHORT else "/tmp"

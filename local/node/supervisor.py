"""supervisord for the local node: the real node's own configuration, with this machine's commands,
folders and environment.
"""

import re
import time
import xmlrpc.client
from collections.abc import Mapping, Sequence
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from recording.model import ROOT

CONFIGURATION = ROOT / "gpu_image" / "supervisord.conf"
# Users that this machine need not have, and what belongs to the node's own folders and network.
_NOT_HERE = ("user", "chown", "stderr_logfile")
_ENVIRONMENT_NOT_HERE = ("HOME", "PYTHONPATH", "AWS_USE_DUALSTACK_ENDPOINT")
_STARTED = re.compile(r" INFO spawned: '(\w+)' with pid (\d+)")
_ENDED = re.compile(r" (?:exited|stopped): (\w+) \(")


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a program of the configuration is here; `log` is a file, or /dev/stdout."""

    command: Sequence[str]
    log: Path


@dataclass(frozen=True, kw_only=True)
class Supervisor:
    """One supervisord: its folder, short enough for a socket in it, and its log."""

    folder: Path
    log: Path

    def configure(
        self,
        programs: Mapping[str, Program],
        listener: Sequence[str],
        startsecs: int | None = None,
    ) -> Path:
        """Writes the configuration for this machine; its path.

        `programs` by their names in the configuration, where those not given are left out;
        `startsecs` is how long each has to run to have started, None: as it is.
        """
        parser = RawConfigParser()
        parser.read(CONFIGURATION)
        for section in parser.sections():
            for option in _NOT_HERE:
                parser.remove_option(section, option)
        supervisord = parser["supervisord"]
        supervisord["logfile"] = _escaped(self.log)
        supervisord["pidfile"] = _escaped(self.folder / "supervisord.pid")
        # stdout is the watcher's alone.
        supervisord["silent"] = "true"
        parser["unix_http_server"]["file"] = _escaped(self._socket)
        parser.remove_section("supervisorctl")
        parser["eventlistener:power_off"]["command"] = _line(listener)
        for section in parser.sections():
            kind, _, name = section.partition(":")
            if kind == "program" and name not in programs:
                parser.remove_section(section)
        for name, program in programs.items():
            section = parser[f"program:{name}"]
            section["command"] = _line(program.command)
            if "environment" in section:
                section["environment"] = _environment(section["environment"])
            section["stdout_logfile"] = _escaped(program.log)
            # /dev/stdout cannot be rotated.
            section["stdout_logfile_maxbytes"] = "0"
            if startsecs is not None:
                section["startsecs"] = str(startsecs)
        path = self.folder / "supervisord.conf"
        with path.open("w") as file:
            parser.write(file)
        return path

    @property
    def _socket(self) -> Path:
        return self.folder / "supervisor.sock"

    def pids(self) -> dict[str, int]:
        """The processes that run now, by program.

        From its log: its API would wait for a supervisord that waits for whoever reads its stdout.
        """
        pids: dict[str, int] = {}
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        for line in text.splitlines():
            if started := _STARTED.search(line):
                pids[started[1]] = int(started[2])
            elif ended := _ENDED.search(line):
                pids.pop(ended[1], None)
        return pids

    def hurry(self, within_s: float = 5.0) -> None:
        """Has it start its programs now, which it does in up to a second unless it is asked
        something.
        """
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up:
            try:
                with self._api() as api:
                    api.supervisor.getState()
                return
            except (OSError, xmlrpc.client.Error):
                time.sleep(0.02)

    def shut_down(self) -> None:
        """Asks it to stop its programs and end; at once, where a signal waits for up to a second.

        Raises OSError when it is not there (any more).
        """
        with self._api() as api:
            api.supervisor.shutdown()

    def _api(self) -> ServerProxy:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        return ServerProxy("http://localhost", transport=transport)


def _environment(told: str) -> str:
    """A program's environment without what is only the node's; supervisord's own comes first."""
    pairs = re.findall(r'(\w+)=("[^"]*")', told)
    return ",".join(f"{name}={value}" for name, value in pairs if name not in _ENVIRONMENT_NOT_HERE)


def _line(argv: Sequence[str]) -> str:
    return _escaped(" ".join(f'"{word}"' for word in argv))


def _escaped(text: str | Path) -> str:
    return str(text).replace("%", "%%")

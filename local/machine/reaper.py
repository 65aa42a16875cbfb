"""Kills the sessions that a dead parent left: waits for the end of a pipe that only the parent
keeps open.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Reads lines "+leader" and "-leader" from stdin until its end, then kills every session still
    listed.
    """
    leaders: set[int] = set()
    for line in sys.stdin:
        change = leaders.add if line.startswith("+") else leaders.discard
        change(int(line[1:]))
    for leader in leaders:
        kill_session(leader)


def kill_session(leader: int) -> None:
    """SIGKILL to a session: its leader's group first, which is to start no more of the others."""
    # macOS answers PermissionError for a group of which only a zombie is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    for pid in _pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if pid != os.getpid() and os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    proc = Path("/proc")
    if (proc / "self").exists():
        return [int(each.name) for each in proc.iterdir() if each.name.isdecimal()]
    listed = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


if __name__ == "__main__":
    main()

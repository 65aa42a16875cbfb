"""Kills the process groups that a dead parent left: waits for the end of a pipe that only the
parent keeps open.
"""

import contextlib
import os
import signal
import sys


def main() -> None:
    """Reads lines "+group" and "-group" from stdin until its end, then kills every group still
    listed.
    """
    groups: set[int] = set()
    for line in sys.stdin:
        change = groups.add if line.startswith("+") else groups.discard
        change(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()

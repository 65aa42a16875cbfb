"""Ends the machine when supervisord has given up on the watcher, without which nothing else would.

An event listener of supervisord (supervisord.conf): it ends supervisord, and tl-fif.service then
powers the machine off. Standard library only, whatever may be broken in the watcher's environment.
"""

import os
import signal
import sys


def main() -> None:
    """Speaks supervisord's event protocol until it is ended."""
    while True:
        print("READY", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        header = dict(pair.split(":", 1) for pair in line.split())
        payload = sys.stdin.read(int(header["len"]))
        if "processname:watcher" in payload.split():
            print("the watcher does not start: powering off", file=sys.stderr, flush=True)
            os.kill(os.getppid(), signal.SIGTERM)
        print("RESULT 2\nOK", end="", flush=True)


if __name__ == "__main__":
    main()

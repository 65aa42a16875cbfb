"""Stands for a process that is forked elsewhere (support/forks.py), and has the same streams,
environment and end.

    python forked.py -m MODULE [argument …]      or      python forked.py [argument …]

The latter is the Python program that TLFIF_FORKED_RUNNER names.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    """Returns when the other has ended; it is told to when this is, or when the parent is gone."""
    module = sys.argv[2] if sys.argv[1:2] == ["-m"] else ""
    arguments = sys.argv[2:] if module else [os.environ["TLFIF_FORKED_RUNNER"], *sys.argv[1:]]
    told = {
        "module": module,
        "arguments": arguments,
        "folder": os.getcwd(),  # noqa: PTH109 (pathlib takes as long as all the rest)
        "environment": dict(os.environ),
    }
    with socket.socket(socket.AF_UNIX) as forks:
        forks.connect(os.environ["TLFIF_FORKS"])
        message = json.dumps(told).encode()
        socket.send_fds(forks, [len(message).to_bytes(8, "big")], [0, 1, 2])
        forks.sendall(message)
        forks.settimeout(0.2)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: forks.shutdown(socket.SHUT_WR))
        parent = os.getppid()
        while os.getppid() == parent:
            try:
                code = forks.recv(1)
            except TimeoutError:
                continue
            sys.exit(code[0] if code else 1)


if __name__ == "__main__":
    main()

"""Commands in namespaces of their own: of mounts and processes, and of the network."""

import subprocess
from collections.abc import Sequence

# However the caller ends, so does everything in the namespaces, and with the last process the
# mounts go. (unshare itself blocks SIGTERM while it waits.)
OWN = [
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
]
# Within those: nothing beyond this machine can be reached, and every port is free.
OWN_NETWORK = ["unshare", "--net"]


def run(argv: Sequence[str]) -> int:
    """Runs the command with mounts and processes of its own; its exit code."""
    process = subprocess.Popen([*OWN, *argv])
    try:
        return process.wait()
    finally:
        process.kill()
        process.wait()

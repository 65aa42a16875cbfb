"""The instant lane's function as a run strikes it, under AWS's own runtime client: the real handler
with a scripted engine, and times short enough to be struck often.

It changes them for its whole process: it is run, and imported by nobody.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from functools import cache, partial
from pathlib import Path

from support.chaos.plan import EVIDENCE, FOLDER, LANE_TIMES, WEIGHTS

import cpu_worker.handler as real
from cpu_worker import lane
from cpu_worker.container import Container, Used
from cpu_worker.engine import Llama
from cpu_worker.failure import LaneFailure
from local.machine.ports import LOOPBACK
from tlfif import names
from tlfif.environment import CpuWorker
from worker.consumer import Consumer
from worker.model import Patience

LOAD_TIMEOUT_S = 20.0


class ScriptedEngine(Llama):
    """The scripted model in a process of this environment's, as the lane's engine."""

    def _spawn(self) -> "subprocess.Popen[str]":
        announced = Path(os.environ[FOLDER]) / f"lane-engine-{os.getpid()}.port"
        return subprocess.Popen(
            [
                *(sys.executable, "-S", "-m", "support.chaos.engine"),
                *("--port", str(self._port), "--announce", str(announced)),
                *("--evidence", os.environ[EVIDENCE]),
            ],
            text=True,
        )

    def load(self, path: Path) -> None:
        assert path.read_bytes() == WEIGHTS
        self.start()
        give_up = time.monotonic() + LOAD_TIMEOUT_S
        while time.monotonic() < give_up and self._process and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self._port)):
                self._loaded = True
                return
            time.sleep(0.02)
        self.stop()
        raise LaneFailure("EngineFailed", "the scripted engine did not come up")


@cache
def _container() -> Container:
    folder = Path(os.environ[FOLDER]) / f"weights-{os.getpid()}"
    return Container(CpuWorker.read(), ScriptedEngine(slots=1), Used(0.0), folder=folder)


for name, seconds in LANE_TIMES.items():
    setattr(names, name, seconds)
lane.Consumer = partial(Consumer, lease_renew_s=0.5, lease_idle_s=names.LEASE_IDLE_S)
lane.Limits = partial(
    lane.Limits,
    beat_s=0.3,
    over_s=4.0,
    grace_s=2.0,
    last_s=0.5,
    enter_s=3.0,
    silence_s=6.0,
    prepare_s=LOAD_TIMEOUT_S + 5,
    ready_s=8.0,
    stay_s=1.0,
)
lane.PATIENCE = Patience(silence_s=2.0, probe_s=2.0)
real.container = _container
handler = real.handler

"""The instant lane's handler in a process of its own, as Lambda runs it: `python -m
support.lane_process ENGINE_URL FOLDER READ_S`.

Each line on stdin is an invocation of so many seconds; each line of JSON on stdout after "=" is
what it returned. Leases are short, parts of the weights small and read slowly.
"""

# ruff: noqa: E402 (times are set before anybody reads them)
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tlfif import names

names.LEASE_RENEW_S, names.LEASE_IDLE_S, names.HEARTBEAT_TTL_S = 0.2, 1, 2  # type: ignore[misc]
names.LET_GO_S = 1  # type: ignore[misc]

from support.fake_engine import FakeEngine

from cpu_worker import handler, weights
from cpu_worker.container import Container, Used
from tlfif.environment import CpuWorker
from worker import consumer

weights.PART_BYTES = 2_000
consumer.BLOCK_MS = 100


class SlowS3:
    """S3 whose reads take a while, before they begin."""

    def __init__(self, read_s: float) -> None:
        self._s3, self._read_s = weights.client(), read_s

    def get_object(self, **request: Any) -> Any:
        time.sleep(self._read_s)
        return self._s3.get_object(**request)


def main(url: str, folder: str, read_s: str) -> None:
    container = Container(
        CpuWorker.read(), FakeEngine(url), Used(0.0), lambda: SlowS3(float(read_s)), Path(folder)
    )
    handler.container = lambda: container  # type: ignore[assignment]
    print("=ready", flush=True)
    for line in sys.stdin:
        ends = time.monotonic() + float(line)

        def left_ms(ends: float = ends) -> int:
            return int((ends - time.monotonic()) * 1000)

        try:
            said = handler.handler({}, SimpleNamespace(get_remaining_time_in_millis=left_ms))
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        print(f"={json.dumps(said)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""How long the real vLLM takes from its start to a first token, on a disk as EBS gives one: with a
warm cache, cold, cold with read-ahead, and cold without compiled modules.

    python -m bench.vllm.cold [rounds]
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from bench.arguments import how_many
from bench.vllm import server, setup
from bench.vllm.disk import FOLDER, Disk, slowed
from local.machine.ports import free_port
from recording.model import ROOT
from tlfif import names

READAHEAD = ROOT / "gpu_image" / "readahead.py"
LIST = setup.CACHE / "readahead.json"
READY_S = 600.0
CASES = ("warm", "cold", "cold, read ahead", "cold, no .pyc")


def start(slow: bool = True, environment: Mapping[str, str] | None = None) -> float:
    """Seconds from vLLM's start to its first token; it is ended then."""
    port = free_port()
    argv = server.command(port, FOLDER)
    began = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            argv,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=slowed() if slow else None,
        )
        try:
            _first_token(port, process)
            return time.monotonic() - began
        except TimeoutError:
            log.seek(0)
            sys.exit(f"bench: vLLM did not come up:\n{log.read().decode()[-2000:]}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _first_token(port: int, process: "subprocess.Popen[bytes]") -> None:
    ask = {"model": names.DEFAULT_SERVED_MODEL, "prompt": "Hi", "max_tokens": 1}
    give_up = time.monotonic() + READY_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            url = f"http://127.0.0.1:{port}/v1/completions"
            if httpx.post(url, json=ask, timeout=60, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise TimeoutError


class Cold:
    """The cases, by name; each leaves what it measured in `seconds` and `megabytes`."""

    def __init__(self, disk: Disk) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.megabytes: dict[str, list[float]] = defaultdict(list)
        self._disk = disk

    def run(self, case: str) -> None:
        """Measures one case once."""
        if case != "warm":
            self._disk.cold()
        before = self._disk.read_bytes
        self.seconds[case].append(self._cases[case](self))
        self.megabytes[case].append((self._disk.read_bytes - before) / 1e6)
        load = os.getloadavg()[0]
        figures = f"{self.seconds[case][-1]:6.1f} s {self.megabytes[case][-1]:8.0f} MB"
        print(f"{case:18} {figures}   load {load:.1f}", flush=True)

    def _plain(self) -> float:
        return start()

    def _read_ahead(self) -> float:
        argv = [sys.executable, READAHEAD, "replay", LIST]
        with subprocess.Popen(argv, preexec_fn=slowed()) as reading:
            try:
                return start()
            finally:
                reading.kill()

    def _uncompiled(self) -> float:
        with tempfile.TemporaryDirectory() as empty:
            away = {"PYTHONPYCACHEPREFIX": empty, "PYTHONDONTWRITEBYTECODE": "1"}
            return start(environment=away)

    _cases: Mapping[str, Callable[["Cold"], float]] = {
        "warm": _plain,
        "cold": _plain,
        "cold, read ahead": _read_ahead,
        "cold, no .pyc": _uncompiled,
    }


def record() -> None:
    """Writes the list as the bake does."""
    argv = [sys.executable, READAHEAD, "record", LIST, "--mount", FOLDER]
    subprocess.run([*argv, "--", sys.executable, "-m", "bench.vllm.cold", "once"], check=True)
    reads = json.loads(LIST.read_text())["reads"]
    files = {path for path, _, _ in reads}
    small = sum(Path(path).stat().st_size < 128 << 10 for path in files)
    whole = sum(Path(path).stat().st_size for path in files) / 1e6
    print(f"the list: {len(reads)} ranges; {small} of the files below 128 kB; whole, they had "
          f"{whole:.0f} MB")  # fmt: skip


def read(disk: Disk, threads: int) -> None:
    """Reads the list and does nothing else: alone with one thread, as an import does, or as boot
    does.
    """
    disk.cold()
    code = "import sys, readahead as r; r.THREADS = int(sys.argv[1]); r.main(sys.argv[2:])"
    argv = [sys.executable, "-c", code, str(threads), "replay", str(LIST)]
    print(f"{threads:2} threads: ", end="", flush=True)
    subprocess.run(argv, cwd=READAHEAD.parent, preexec_fn=slowed(), check=True)


def main(rounds: int) -> None:
    """Prints each measurement, then the medians and their ratio to a cold start's."""
    setup.prepare()
    with Disk() as disk:
        record()
        for _ in range(rounds):
            for threads in (1, 16):
                read(disk, threads)
        cold = Cold(disk)
        for _ in range(rounds):
            for case in ("cold", "cold, read ahead", "cold, no .pyc", "warm"):
                cold.run(case)
    usual = statistics.median(cold.seconds["cold"])
    for case in CASES:
        seconds = statistics.median(cold.seconds[case])
        print(f"{case:18} median {seconds:6.1f} s, {seconds / usual:.2f} of cold")


if __name__ == "__main__":
    if sys.argv[1:] == ["once"]:
        start(slow=False)
    elif sys.argv[1:2] == ["apart"]:
        del sys.argv[1]
        main(how_many(__doc__, "rounds", 3))
    else:
        rounds = str(how_many(__doc__, "rounds", 3))
        again = [sys.executable, "-m", "bench.vllm.cold", "apart", rounds]
        os.execvp("unshare", ["unshare", "--mount", *again])

"""A disk as EBS gives one: 125 MB/s, 3,000 requests a second, and nothing of it in memory.

A file system in a file on a loop device, which a block-I/O control group slows down; mounted anew
it is cold, whatever else the machine has in memory. Needs root, cgroup v1's blkio, and a mount
namespace of its own (`unshare --mount`): what others have mounted as well stays warm.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.vllm.setup import CACHE

IMAGE, FOLDER = CACHE / "disk.img", CACHE / "disk"
GROUP = Path("/sys/fs/cgroup/blkio/tlfif-wake")
BYTES_PER_S, REQUESTS_PER_S = 125_000_000, 3_000
# As Linux reads ahead on EC2.
READ_AHEAD_KB = 128
IMAGE_BYTES = 14 << 30


class Disk:
    """Use as a context manager; `cold()` before each measurement."""

    def __init__(self) -> None:
        self._device = ""

    def __enter__(self) -> "Disk":
        _require()
        if not IMAGE.exists():
            _fill()
        self._device = _run("losetup", "--find", "--show", "--direct-io=on", str(IMAGE))
        name = self._device.rpartition("/")[2]
        Path(f"/sys/block/{name}/queue/read_ahead_kb").write_text(str(READ_AHEAD_KB))
        number = Path(f"/sys/block/{name}/dev").read_text().strip()
        GROUP.mkdir(exist_ok=True)
        for limit, figure in (("bps", BYTES_PER_S), ("iops", REQUESTS_PER_S)):
            (GROUP / f"blkio.throttle.read_{limit}_device").write_text(f"{number} {figure}")
        FOLDER.mkdir(exist_ok=True)
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        _unmount()
        _run("losetup", "--detach", self._device)
        GROUP.rmdir()

    def cold(self) -> None:
        """Forgets all that was read of it."""
        _unmount()
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "ro,noatime", self._device, str(FOLDER))

    @property
    def read_bytes(self) -> int:
        """How many bytes it has been asked for since it is there."""
        name = self._device.rpartition("/")[2]
        return int(Path(f"/sys/block/{name}/stat").read_text().split()[2]) * 512


def slowed() -> Callable[[], None]:
    """What a child does before it becomes another program: from then on the disk is slow for it."""
    return lambda: (GROUP / "cgroup.procs").write_text(str(os.getpid())) and None


def _unmount() -> None:
    give_up = time.monotonic() + 30
    while True:
        try:
            _run("umount", str(FOLDER))
            return
        except subprocess.CalledProcessError:
            # Whom it was slow for is ending.
            if time.monotonic() > give_up:
                raise
        time.sleep(0.2)


def _require() -> None:
    if os.geteuid() or not (GROUP.parent / "blkio.throttle.read_bps_device").exists():
        sys.exit("bench: a slow disk needs root and cgroup v1's blkio controller")


def _fill() -> None:
    partial = IMAGE.with_suffix(".partial")
    with partial.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    _run("mkfs.ext4", "-q", "-m", "0", str(partial))
    FOLDER.mkdir(exist_ok=True)
    _run("mount", "-o", "loop", str(partial), str(FOLDER))
    try:
        for name in ("venv", "model"):
            shutil.copytree(CACHE / name, FOLDER / name, symlinks=True)
    finally:
        _run("umount", str(FOLDER))
    partial.rename(IMAGE)


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

"""Reads ahead what the engine's start reads, in the order in which it reads it.

    readahead.py record LIST [--mount FOLDER]... [--whole FOLDER]... -- COMMAND...
    readahead.py replay LIST

`record` runs the command twice, as root, and writes which parts of which files it read: fanotify
tells which files it opened, and mincore, after they were evicted from memory, which of their pages
came back. `--whole` adds a folder that the command cannot read, as weights without a GPU.
`replay` reads all that into memory at boot: with many requests under way at once, where an import
has one. A list that is missing, damaged or stale costs nothing but its effect.

Standard library only: it runs before anything of ours, with the system's own Python.
"""

import argparse
import ctypes
import itertools
import json
import mmap
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

Range = tuple[str, int, int]  # file, first byte, bytes

THREADS = 16
CHUNK = 1 << 20
# A gap as small as this takes no longer to read than to skip, at 125 MB/s and 3,000 requests a s.
GAP = 48 << 10
# What it may fill of the memory that is free: the start needs some itself.
SHARE = 0.5

# <linux/fanotify.h>
_CLASS_NOTIF, _CLOEXEC, _UNLIMITED_QUEUE = 0x0, 0x1, 0x10
_MARK_ADD, _MARK_MOUNT, _OPEN = 0x1, 0x10, 0x20
_EVENT = struct.Struct("=IBBHQii")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


# --- at boot


def replay(ranges: Iterable[Range], budget: int) -> tuple[int, int]:
    """Reads at most `budget` bytes of the ranges, in order; how many it read, and how many files
    it could not.
    """
    chunks, lock = _chunks(ranges, budget), threading.Lock()
    read, away = [0], set[str]()

    def work() -> None:
        buffer = bytearray(CHUNK)
        while True:
            with lock:
                chunk = next(chunks, None)
            if chunk is None:
                return
            path, start, length = chunk
            try:
                done = _read(path, start, memoryview(buffer)[:length])
            except OSError:
                done = 0
                away.add(path)
            with lock:
                read[0] += done

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return read[0], len(away)


def _chunks(ranges: Iterable[Range], budget: int) -> Iterator[Range]:
    for path, start, length in ranges:
        for at in range(start, start + length, CHUNK):
            size = min(CHUNK, start + length - at, budget)
            if size <= 0:
                return
            budget -= size
            yield path, at, size


def _read(path: str, start: int, buffer: memoryview) -> int:
    # Nothing that could make the boot wait: a list may name what is a pipe by now.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.preadv(fd, [buffer], start)
    finally:
        os.close(fd)


def load(path: Path) -> list[Range]:
    """The ranges of a list. Raises OSError, or ValueError for one that is damaged."""
    listed = json.loads(path.read_text())
    try:
        return [(str(name), int(start), int(length)) for name, start, length in listed["reads"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no list of [file, first byte, bytes]: {error!r}") from error


def free_memory() -> int:
    """The bytes that can be had without taking them from anybody."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


# --- at bake


def record(command: Sequence[str], mounts: Sequence[str], whole: Sequence[str]) -> list[Range]:
    """What the command reads from disk on these mounts. Raises OSError where this process may not
    watch, and CalledProcessError when the command fails.
    """
    opened = _opened(command, mounts)
    evict(opened)
    files = dict.fromkeys([*opened, *_opened(command, mounts)])
    ranges = [each for path in files for each in resident(path)]
    ranges += [each for folder in whole for each in _all_of(Path(folder))]
    return ranges


def evict(files: Iterable[str]) -> None:
    """Has the kernel forget these files, as far as nobody has them mapped."""
    os.sync()
    for path in files:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def resident(path: str) -> list[Range]:
    """The parts of a file that are in memory; none of one that is gone or no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        size = os.fstat(fd).st_size
        pages = _pages(fd, size) if size and Path(path).is_file() else b""
    finally:
        os.close(fd)
    found: list[Range] = []
    for number, page in enumerate(pages):
        start = number * mmap.PAGESIZE
        end = min(size, start + mmap.PAGESIZE)
        if not page & 1:
            continue
        if found and start - sum(found[-1][1:]) <= GAP:
            found[-1] = (path, found[-1][1], end - found[-1][1])
        else:
            found.append((path, start, end - start))
    return found


def _pages(fd: int, size: int) -> bytes:
    """A byte for each page, whose lowest bit says that it is in memory."""
    pages = ctypes.create_string_buffer((size + mmap.PAGESIZE - 1) // mmap.PAGESIZE)
    address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    if address == ctypes.c_void_p(-1).value:
        return b""
    try:
        return pages.raw if _libc.mincore(address, size, pages) == 0 else b""
    finally:
        _libc.munmap(address, size)


def _all_of(folder: Path) -> Iterator[Range]:
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        yield str(path), 0, path.stat().st_size


def _opened(command: Sequence[str], mounts: Sequence[str]) -> list[str]:
    """The files that the command opens, in that order, without those of other processes."""
    watch = _libc.fanotify_init(_CLASS_NOTIF | _CLOEXEC | _UNLIMITED_QUEUE, os.O_RDONLY)
    if watch < 0:
        raise _failure("fanotify_init")
    ended, files = threading.Event(), dict[str, None]()
    try:
        for mount in mounts:
            mask = ctypes.c_uint64(_OPEN)
            if _libc.fanotify_mark(watch, _MARK_ADD | _MARK_MOUNT, mask, -100, mount.encode()):
                raise _failure(f"fanotify_mark of {mount}")
        process = subprocess.Popen(command)
        reader = threading.Thread(target=_listen, args=(watch, process.pid, ended, files))
        reader.start()
        try:
            code = process.wait()
        finally:
            ended.set()
            reader.join()
    finally:
        os.close(watch)
    if code:
        raise subprocess.CalledProcessError(code, command)
    return list(files)


def _listen(watch: int, leader: int, ended: threading.Event, files: dict[str, None]) -> None:
    known = {leader: True, 0: False}
    while True:
        ready, _, _ = select.select([watch], [], [], 0.1)
        if not ready:
            if ended.is_set():
                return
            continue
        events = os.read(watch, 65536)
        for at in range(0, len(events), _EVENT.size):
            *_, fd, pid = _EVENT.unpack_from(events, at)
            if fd < 0:
                continue
            try:
                if _descends(pid, known):
                    files.setdefault(str(Path(f"/proc/self/fd/{fd}").readlink()))
            finally:
                os.close(fd)


def _descends(pid: int, known: dict[int, bool]) -> bool:
    """Whether a process is known, or one of its ancestors; what is found out is noted."""
    if pid not in known:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            # It was short-lived, and is gone by now.
            return False
        known[pid] = _descends(int(stat.rpartition(")")[2].split()[1]), known)
    return known[pid]


def _failure(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


# --- commands


def main(argv: Sequence[str]) -> int:
    """The exit code: 0 of a replay, whatever became of it."""
    options = _parser().parse_args(argv)
    return _replay(options.list) if options.action == "replay" else _record(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Reads ahead what the engine's start reads.")
    actions = parser.add_subparsers(dest="action", required=True)
    recording, replaying = actions.add_parser("record"), actions.add_parser("replay")
    for each in (recording, replaying):
        each.add_argument("list", type=Path)
    recording.add_argument("--mount", action="append", help="watch what is mounted here (/)")
    recording.add_argument("--whole", action="append", default=[], help="add all of this folder")
    recording.add_argument("command", nargs="+")
    return parser


def _record(options: argparse.Namespace) -> int:
    try:
        reads = record(options.command, options.mount or ["/"], options.whole)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"readahead: cannot record: {error}", file=sys.stderr)
        return 1
    partial = options.list.with_name(f"{options.list.name}.partial")
    partial.write_text(json.dumps({"reads": reads}))
    partial.rename(options.list)
    files = sum(1 for _ in itertools.groupby(reads, key=lambda each: each[0]))
    size = sum(length for _, _, length in reads)
    print(f"readahead: {size / 1e6:.0f} MB in {files} files: {size / 125e6:.1f} s at 125 MB/s")
    return 0


def _replay(path: Path) -> int:
    began = time.monotonic()
    try:
        read, away = replay(load(path), int(free_memory() * SHARE))
    except (OSError, ValueError) as error:
        print(f"readahead: nothing read ahead: {path}: {error}", flush=True)
        return 0
    took_s = time.monotonic() - began
    print(f"readahead: {read / 1e6:.0f} MB in {took_s:.1f} s, {away} files away", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

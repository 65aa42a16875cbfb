"""Brings the weights from the bucket to the disk: read in parallel, written and hashed in order."""

import collections
import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cpu_worker.failure import LaneFailure, LaneInterrupted, WeightsFailure
from tlfif import aws
from tlfif.log import log

PART_BYTES = 8 << 20
READERS = 8
# Read ahead of what is written: what the parts in memory take is bounded by this.
AHEAD = 2 * READERS
TRIES, PAUSE_S = 4, 0.2
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2.0, 10.0
# What else the disk may be wanted for.
SPARE_BYTES = 16 << 20


@dataclass(frozen=True)
class Source:
    """The weights of a stack: an object in its bucket, and the SHA-256 of its content."""

    stack: str
    bucket: str
    key: str
    sha256: str

    @property
    def remedy(self) -> str:
        """What brings them (again)."""
        return f"run: make model STACK={self.stack}"


def client() -> Any:
    """An S3 client for as many readers; its calls fail by themselves, and are made again here."""
    return aws.client("s3", connect_s=CONNECT_TIMEOUT_S, read_s=READ_TIMEOUT_S, connections=READERS)


def fetch(s3: Any, source: Source, folder: Path) -> Path:
    """The file with the weights, whole and checked; it is read only if it is not there.

    A file of an earlier process is hashed again before it is believed. Raises LaneFailure when
    there are none, the wrong ones, or no room; LaneInterrupted when S3 does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{source.sha256}.gguf"
    _remove_leftovers(folder)
    if path.exists():
        if _digest(path) == source.sha256:
            return path
        log("weights_spoilt", "WARNING", path=str(path))
        path.unlink(missing_ok=True)
    begun = time.monotonic()
    with _partial(path) as file:
        size = _Download(s3, source, folder).write(file)
        Path(file.name).replace(path)
    log("weights_read", bytes=size, ms=int((time.monotonic() - begun) * 1000))
    return path


class _Download:
    def __init__(self, s3: Any, source: Source, folder: Path):
        self._s3, self._source, self._folder = s3, source, folder
        self._etag: str | None = None

    def write(self, file: IO[bytes]) -> int:
        """Writes the object, and says how many bytes that were; they are the right ones."""
        first, size = self._first()
        self._require_room(size)
        digest = hashlib.sha256()
        pool = ThreadPoolExecutor(READERS, thread_name_prefix="weights")
        try:
            for data in self._parts(pool, first, size):
                digest.update(data)
                file.write(data)
            file.flush()
        finally:
            # Reads that hang end by themselves.
            pool.shutdown(wait=False, cancel_futures=True)
        if digest.hexdigest() != self._source.sha256:
            raise WeightsFailure(
                "WrongWeights",
                f"{self._where} has the SHA-256 {digest.hexdigest()}, not {self._source.sha256}; "
                f"{self._source.remedy}",
            )
        return size

    @property
    def _where(self) -> str:
        return f"s3://{self._source.bucket}/{self._source.key}"

    def _first(self) -> tuple[bytes, int]:
        """The first part, and from it the object's size and version."""
        answer, data = self._read(0)
        self._etag = answer["ETag"]
        return data, int(answer["ContentRange"].rpartition("/")[2])

    def _parts(self, pool: ThreadPoolExecutor, first: bytes, size: int) -> Iterator[bytes]:
        """All parts in order, while later ones are being read."""
        yield first
        coming: collections.deque[Future[bytes]] = collections.deque()
        for start in range(len(first), size, PART_BYTES):
            coming.append(pool.submit(lambda start=start: self._read(start)[1]))
            if len(coming) >= AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()

    def _read(self, start: int) -> tuple[Any, bytes]:
        """One part, however often it takes."""
        condition = {"IfMatch": self._etag} if self._etag else {}
        wanted = f"bytes={start}-{start + PART_BYTES - 1}"
        for attempt in range(1, TRIES + 1):
            try:
                answer = self._s3.get_object(
                    Bucket=self._source.bucket, Key=self._source.key, Range=wanted, **condition
                )
                return answer, answer["Body"].read()
            except aws.errors() as error:
                self._judge(error, last=attempt == TRIES)
                time.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("the last try raises")

    def _judge(self, error: Exception, last: bool) -> None:
        status = aws.status(error)
        # Who may not list the bucket gets 403 for what is not there.
        if status in (403, 404):
            raise WeightsFailure(
                "NoWeights",
                f"{self._where} is not there ({aws.code(error)}); {self._source.remedy}",
            ) from error
        if status == 416:
            raise WeightsFailure(
                "WrongWeights", f"{self._where} is empty; {self._source.remedy}"
            ) from error
        if last or status == 412:
            raise LaneInterrupted(f"{self._where} cannot be read: {aws.code(error)}") from error

    def _require_room(self, size: int) -> None:
        free = shutil.disk_usage(self._folder).free
        if size + SPARE_BYTES > free:
            needed = -(-(size + SPARE_BYTES) // 1_000_000)
            raise LaneFailure(
                "DiskTooSmall",
                f"the weights take {size // 1_000_000} MB, and {free // 1_000_000} MB of the disk "
                f"are free; set cpu:diskMb to at least {needed}",
            )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _partial(path: Path) -> Generator[IO[bytes], None, None]:
    """A file of this process alone, which is gone after the block unless it was renamed.

    It is locked: whoever finds one that is not has found a dead process's.
    """
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield file
            except OSError as error:
                raise LaneInterrupted(f"the disk does not take the weights: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    for partial in folder.glob("*.part"):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()

"""The weights on the disk: whole and the right ones, or none."""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from cpu_worker import weights
from cpu_worker.failure import LaneFailure, LaneInterrupted
from cpu_worker.weights import Source
from tlfif import names

pytestmark = pytest.mark.story("EC2-003")

PART = 1 << 10
DATA = bytes(range(256)) * 41 + b"tail"
SHA256 = hashlib.sha256(DATA).hexdigest()
SOURCE = Source("dev", "replies", names.model_key(SHA256), SHA256)


class Bucket:
    """S3 with one object, which may fail, and says what was asked of it."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data, self.etag = data, '"1"'
        self.ranges: list[str] = []
        self.failures: list[Exception] = []

    def get_object(self, *, Range: str, IfMatch: str | None = None, **_: Any) -> dict[str, Any]:
        self.ranges.append(Range)
        if self.failures:
            raise self.failures.pop(0)
        if IfMatch not in (None, self.etag):
            raise error(412, "PreconditionFailed")
        first, last = (int(each) for each in Range.removeprefix("bytes=").split("-"))
        part = self.data[first : last + 1]
        if not part:
            raise error(416, "InvalidRange")
        read = SimpleNamespace(read=lambda: part)
        return {
            "Body": read,
            "ETag": self.etag,
            "ContentRange": f"bytes {first}-{first + len(part) - 1}/{len(self.data)}",
        }


def error(status: int, code: str) -> ClientError:
    answer = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}
    return ClientError(answer, "GetObject")


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PART_BYTES", PART)
    monkeypatch.setattr(weights, "PAUSE_S", 0.001)


def nothing_else_in(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= {f"{SHA256}.gguf"}


def test_all_parts_are_read_once_and_are_there_in_order(tmp_path: Path):
    bucket = Bucket()
    path = weights.fetch(bucket, SOURCE, tmp_path / "models")
    assert path.read_bytes() == DATA
    assert len(bucket.ranges) == len(set(bucket.ranges)) == -(-len(DATA) // PART)
    assert nothing_else_in(path.parent)


def test_what_is_there_is_not_read_again(tmp_path: Path):
    weights.fetch(Bucket(), SOURCE, tmp_path)
    bucket = Bucket()
    weights.fetch(bucket, SOURCE, tmp_path)
    assert not bucket.ranges


def test_a_file_that_has_been_spoilt_is_read_again(tmp_path: Path):
    path = weights.fetch(Bucket(), SOURCE, tmp_path)
    path.write_bytes(DATA[:-1] + b"?")
    weights.fetch(Bucket(), SOURCE, tmp_path)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"more", DATA.replace(b"tail", b"tale"), b"x"])
def test_other_weights_are_refused_and_not_kept(tmp_path: Path, data: bytes):
    with pytest.raises(LaneFailure, match=f"not {SHA256}; run: make model STACK=dev") as caught:
        weights.fetch(Bucket(data), SOURCE, tmp_path)
    assert caught.value.code == "WrongWeights"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("status", "code"), [(404, "NoSuchKey"), (403, "AccessDenied")])
def test_no_weights_name_what_brings_them(tmp_path: Path, status: int, code: str):
    bucket = Bucket()
    bucket.failures = [error(status, code)]
    wanted = rf"s3://replies/models/.*\.gguf is not there \({code}\); run: make model STACK=dev"
    with pytest.raises(LaneFailure, match=wanted) as caught:
        weights.fetch(bucket, SOURCE, tmp_path)
    assert caught.value.code == "NoWeights"


def test_an_empty_object_is_no_weights(tmp_path: Path):
    with pytest.raises(LaneFailure, match="is empty; run: make model STACK=dev"):
        weights.fetch(Bucket(b""), SOURCE, tmp_path)


def test_reads_that_fail_are_made_again(tmp_path: Path):
    bucket = Bucket()
    bucket.failures = [
        error(503, "SlowDown"),
        EndpointConnectionError(endpoint_url="http://s3"),
        ReadTimeoutError(endpoint_url="http://s3"),
    ]
    assert weights.fetch(bucket, SOURCE, tmp_path).read_bytes() == DATA


def test_an_s3_that_does_not_answer_is_no_failure_of_the_weights(tmp_path: Path):
    bucket = Bucket()
    bucket.failures = [error(503, "SlowDown") for _ in range(weights.TRIES)]
    with pytest.raises(LaneInterrupted, match="cannot be read: SlowDown"):
        weights.fetch(bucket, SOURCE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_replaced_meanwhile_are_not_mixed(tmp_path: Path):
    bucket = Bucket()
    get_object = bucket.get_object

    def replaced(**request: Any) -> dict[str, Any]:
        if len(bucket.ranges) == 3:
            bucket.data, bucket.etag = bytes(len(DATA)), '"2"'
        return get_object(**request)

    bucket.get_object = replaced  # type: ignore[method-assign]
    with pytest.raises(LaneInterrupted, match="PreconditionFailed"):
        weights.fetch(bucket, SOURCE, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small_names_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bucket = Bucket()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=len(DATA)))
    with pytest.raises(LaneFailure, match=r"set cpu:diskMb to at least \d+") as caught:
        weights.fetch(bucket, SOURCE, tmp_path)
    assert caught.value.code == "DiskTooSmall"
    assert len(bucket.ranges) == 1


def test_a_dead_processs_part_makes_room_and_a_living_ones_stays(tmp_path: Path):
    dead, living = tmp_path / "a.1.part", tmp_path / "b.2.part"
    dead.write_bytes(DATA)
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        weights.fetch(Bucket(), SOURCE, tmp_path)
        assert not dead.exists()
        assert living.exists()


KILLED = """
import sys, time; from pathlib import Path
from test_cpu_worker_weights import Bucket, PART, SOURCE
from cpu_worker import weights
weights.PART_BYTES = PART
bucket = Bucket(); get = bucket.get_object
def slow(**request):
    time.sleep(0.02)
    return get(**request)
bucket.get_object = slow
print("begun", flush=True)
weights.fetch(bucket, SOURCE, Path(sys.argv[1]))
"""


@pytest.mark.integration
@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_a_process_that_is_killed_leaves_nothing_that_is_believed(tmp_path: Path, after_s: float):
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    for path in tmp_path.glob("*.gguf"):
        assert path.read_bytes() == DATA
    assert weights.fetch(Bucket(), SOURCE, tmp_path).read_bytes() == DATA
    assert nothing_else_in(tmp_path)

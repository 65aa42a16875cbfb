"""Read-ahead: what a start reads is recorded, and a boot reads it before it is asked (EC2-002)."""

import json
import os
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

import readahead
from recording.model import ROOT

pytestmark = pytest.mark.story("EC2-002")

MB = 1 << 20
PROGRAM = [sys.executable, "-I", "-S", str(ROOT / "gpu_image" / "readahead.py")]
READ = "import sys; file = open(sys.argv[1], 'rb'); file.seek({at}); file.read({size})"


def in_memory(path: Path) -> int:
    return sum(length for _, _, length in readahead.resident(str(path)))


def can_evict(folder: Path) -> bool:
    """Whether files of this folder leave memory, and may be looked at: not of every file system,
    nor for everybody.
    """
    probe = folder / "probe"
    probe.write_bytes(b"x" * MB)
    readahead.evict([str(probe)])
    return in_memory(probe) == 0 and bool(readahead._read(str(probe), 0, memoryview(bytearray(9))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not can_evict(tmp_path):
        pytest.skip("files here do not leave memory")
    return tmp_path


def cold(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    readahead.evict([str(path)])
    return path


def test_what_is_read_ahead_is_in_memory_in_order_and_bounded(folder: Path) -> None:
    first, second, third = (cold(folder / name, 3 * MB) for name in "abc")
    ranges = [(str(first), 0, 3 * MB), (str(second), MB, 5), (str(third), 0, 3 * MB)]
    read, away = readahead.replay(ranges, budget=3 * MB + 5)
    assert (read, away) == (3 * MB + 5, 0)
    assert in_memory(first) == 3 * MB
    assert in_memory(second) > 0
    assert in_memory(third) == 0


def test_a_list_that_is_stale_costs_nothing(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.write_bytes(b"x" * 1000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    stale = [
        (str(tmp_path / "gone"), 0, 10 * MB),
        (str(tmp_path), 0, 100),
        (str(pipe), 0, 100),
        (str(here), 500, 10 * MB),
    ]
    read, away = readahead.replay(stale, budget=100 * MB)
    assert (read, away) == (500, 3)


@pytest.mark.parametrize(
    "text", [None, "", "[]", '{"reads": [["/x", 0]]}', '{"reads": [["/x", "a", 1]]}', "\x00\xff"]
)
def test_no_list_fails_the_boot(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "list.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    done = subprocess.run([*PROGRAM, "replay", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("readahead: nothing read ahead: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may watch what others open")
def test_what_a_command_reads_is_recorded_by_ranges_and_read_again(folder: Path) -> None:
    big, later = cold(folder / "big", 64 * MB), cold(folder / "later", 1000)
    weights = folder / "model" / "weights"
    weights.parent.mkdir()
    weights.write_bytes(b"w" * 5000)
    code = f"{READ.format(at=32 * MB, size=4096)}; open(sys.argv[2]).close(); "
    code += "open(sys.argv[2], 'rb').read()"
    mount = subprocess.check_output(["findmnt", "-nr", "-o", "TARGET", "-T", folder], text=True)
    options = ["--mount", mount.strip(), "--whole", str(weights.parent)]
    listed = folder / "list.json"
    command = [sys.executable, "-I", "-S", "-c", code, str(big), str(later)]
    subprocess.run([*PROGRAM, "record", listed, *options, "--", *command], check=True)
    reads: list[Any] = json.loads(listed.read_text())["reads"]
    ours = [each for each in reads if each[0].startswith(str(folder))]
    assert [path for path, _, _ in ours] == [str(big), str(later), str(weights)]
    (_, start, length), whole, added = ours
    assert start <= 32 * MB < start + length
    assert length < 64 * MB, "not all of it"
    assert (whole[1:], added[1:]) == ([0, 1000], [0, 5000])

    readahead.evict([str(big), str(later)])
    done = subprocess.run([*PROGRAM, "replay", listed], capture_output=True, text=True, check=True)
    assert ", 0 files away" in done.stdout
    assert in_memory(big) >= length
    assert in_memory(later) == 1000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may watch what others open")
def test_a_command_that_fails_leaves_no_list(tmp_path: Path) -> None:
    listed = tmp_path / "list.json"
    argv = [*PROGRAM, "record", str(listed), "--", "false"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("readahead: cannot record: ")
    assert not listed.exists()


def unit(name: str) -> RawConfigParser:
    parser = RawConfigParser(comment_prefixes=("#",), strict=False)
    # Keys are case-sensitive to systemd.
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(ROOT / "gpu_image" / name)
    return parser


def test_nothing_waits_for_the_read_ahead_and_the_engine_not_for_the_network() -> None:
    node, ahead = unit("tl-fif.service"), unit("tl-fif-readahead.service")
    for each in (node, ahead):
        assert each["Unit"]["DefaultDependencies"] == "no", "they wait for cloud-init"
        assert each["Unit"]["Conflicts"] == each["Unit"]["Before"] == "shutdown.target"
    told = " ".join(node["Unit"].values())
    assert "network" not in told
    assert "readahead" not in told
    assert ahead["Service"]["Type"] == "exec", "it is started when it runs, not when it is over"
    assert "poweroff" not in " ".join(ahead["Unit"].values())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd's tools")
def test_systemd_understands_the_unit_of_the_read_ahead(tmp_path: Path) -> None:
    text = (ROOT / "gpu_image" / "tl-fif-readahead.service").read_text()
    path = tmp_path / "tl-fif-readahead.service"
    path.write_text(text.replace("/usr/bin/python3", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")

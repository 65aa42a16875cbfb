"""What a watcher remembers over its restart (EC2-004), and what it does first of all."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recording.model import ROOT
from watcher import memory
from watcher.memory import Memory, Store

pytestmark = [pytest.mark.story("EC2-004")]

LEFT = Memory(at=100, give_up_at=400, idled_s=3, obstructed_s=20, wish_s=60, obstructed=False)


@pytest.fixture
def folder(tmp_path: Path) -> dict[str, str]:
    return {"TLFIF_STATE_FOLDER": str(tmp_path)}


def test_the_next_process_of_the_boot_knows_what_the_last_one_left(
    folder: dict[str, str],
) -> None:
    Store(folder).save(LEFT)
    assert Store(folder).load(100) == LEFT
    assert [each.name for each in Path(folder["TLFIF_STATE_FOLDER"]).iterdir()] == ["memory.json"]


def test_another_boots_memory_and_one_of_the_future_are_nobodys(folder: dict[str, str]) -> None:
    Store(folder, "boot-1").save(LEFT)
    assert Store(folder, "boot-2").load(200) is None
    assert Store(folder, "boot-1").load(99.9) is None


def test_without_a_folder_there_is_nothing_to_remember() -> None:
    store = Store({"TLFIF_STATE_FOLDER": "/nowhere/at/all"})
    store.save(LEFT)
    assert store.load(100) is None


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "12", []])
def test_what_is_no_number_is_no_memory(folder: dict[str, str], bad: Any) -> None:
    for name in ("idled_s", "obstructed_s", "wish_s", "at", "give_up_at"):
        Store(folder).save(replace(LEFT, **{name: bad}))
        assert Store(folder).load(100) is None, name


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
).map(lambda document: json.dumps(document).encode()))  # fmt: skip
def test_garbage_is_no_memory(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "memory.json").write_bytes(garbage)
    assert Store({"TLFIF_STATE_FOLDER": str(folder)}).load(1e9) is None


def test_a_boots_first_process_has_the_usual_allowance() -> None:
    assert memory.first({}, 50).give_up_at == 50 + 600
    assert memory.first({"TLFIF_BOOT_ALLOWANCE_MINUTES": "3"}, 50).give_up_at == 50 + 180


def run(folder: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A watcher without boto3, redis or anything else that it needs to serve."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'gpu_image'}", **folder}
    command = [sys.executable, "-S", "-m", "watcher"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.integration
def test_what_is_past_due_is_looked_at_before_anything_that_may_crash(
    folder: dict[str, str],
) -> None:
    first = run(folder)
    assert "ModuleNotFoundError" in first.stderr
    known = Store(folder).load(time.monotonic())
    assert known is not None, "its time is running all the same"
    assert known.give_up_at - known.at == 600

    Store(folder).save(replace(known, give_up_at=time.monotonic()))
    late = run(folder)
    assert [json.loads(line)["event"] for line in late.stdout.splitlines()] == [
        "power_off",
        "power_off_failed",
    ]
    assert (late.returncode, late.stderr) == (1, "")

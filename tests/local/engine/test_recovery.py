"""What a killed CLI leaves in its folder of states, put right; and a project's copy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.control import NoCloudError, tell
from local.engine.recovery import checkpoint_of, is_pending, known, recover

STATE = {"checkpoint": {"latest": {"resources": [{"type": "aws:ec2/vpc:Vpc", "id": "vpc-1"}]}}}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = checkpoint_of(tmp_path, "tl-fif", "dev")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(STATE))
    path.with_suffix(".json.bak").write_text(json.dumps(STATE))
    return path


def _lock(state: Path, pid: int) -> Path:
    lock = state / ".pulumi" / "locks" / "organization" / "tl-fif" / "dev" / f"{pid}.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text(json.dumps({"pid": pid}))
    lock.with_suffix(".json.attrs").write_text("{}")
    return lock


def test_the_lock_of_a_process_that_is_gone_goes_and_no_other(
    tmp_path: Path, checkpoint: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    dead, alive = _lock(tmp_path, gone.pid), _lock(tmp_path, os.getpid())
    recover(tmp_path, "tl-fif", "dev")
    assert (dead.exists(), dead.with_suffix(".json.attrs").exists()) == (False, False)
    assert alive.exists()


@pytest.mark.parametrize("half", ["", '{"checkpoint": {"lat'])
def test_a_half_written_state_is_taken_from_its_backup(
    tmp_path: Path, checkpoint: Path, half: str
) -> None:
    checkpoint.write_text(half)
    attributes = checkpoint.with_suffix(".json.attrs")
    attributes.write_text(half)
    recover(tmp_path, "tl-fif", "dev")
    assert json.loads(checkpoint.read_text()) == STATE
    assert not attributes.exists()


def test_the_state_says_what_it_knows_and_what_was_under_way(
    tmp_path: Path, checkpoint: Path
) -> None:
    assert known(tmp_path, "tl-fif", "dev") == {("aws:ec2/vpc:Vpc", "vpc-1")}
    assert not is_pending(tmp_path, "tl-fif", "dev")
    latest = {**STATE["checkpoint"]["latest"], "pending_operations": [{"type": "creating"}]}
    checkpoint.write_text(json.dumps({"checkpoint": {"latest": latest}}))
    assert is_pending(tmp_path, "tl-fif", "dev")
    assert known(tmp_path, "tl-fif", "prod") == set()


def test_without_a_running_cloud_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoCloudError, match="make local STACK=prod"):
        tell(tmp_path / "control", "adopt", "prod")

"""What a CLI that was killed leaves behind in its folder of states, put right: as an operator would
by `pulumi cancel` and from the backup.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any


def recover(state: Path, project: str, stack: str) -> None:
    """Takes away locks of processes that are gone, and a checkpoint that was half written.

    `state` is the folder of PULUMI_BACKEND_URL. What a running process has locked stays locked.
    """
    root = state / ".pulumi"
    for lock in (root / "locks" / "organization" / project / stack).glob("*.json"):
        if not _is_alive(lock):
            lock.unlink(missing_ok=True)
            lock.with_suffix(".json.attrs").unlink(missing_ok=True)
    checkpoint = checkpoint_of(state, project, stack)
    backup = checkpoint.with_suffix(".json.bak")
    for attributes in root.rglob("*.attrs"):
        # Written beside each file, and needed by nobody; half a one makes the file unreadable.
        if not _is_json(attributes):
            attributes.unlink()
    if checkpoint.exists() and not _is_json(checkpoint) and _is_json(backup):
        shutil.copyfile(backup, checkpoint)


def known(state: Path, project: str, stack: str) -> set[tuple[str, str]]:
    """The type and id of every resource in a stack's state."""
    resources = _latest(state, project, stack).get("resources") or ()
    return {(each["type"], each.get("id", "")) for each in resources}


def is_pending(state: Path, project: str, stack: str) -> bool:
    """Whether the state says of a resource that it was being made, changed or removed."""
    return bool(_latest(state, project, stack).get("pending_operations"))


def _latest(state: Path, project: str, stack: str) -> dict[str, Any]:
    checkpoint = checkpoint_of(state, project, stack)
    if not checkpoint.exists():
        return {}
    return json.loads(checkpoint.read_text())["checkpoint"].get("latest") or {}


def checkpoint_of(state: Path, project: str, stack: str) -> Path:
    """The file that holds a stack's state."""
    return state / ".pulumi" / "stacks" / project / f"{stack}.json"


def _is_alive(lock: Path) -> bool:
    with contextlib.suppress(OSError, ValueError, KeyError):
        os.kill(json.loads(lock.read_text())["pid"], 0)
        return True
    return False


def _is_json(file: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        json.loads(file.read_text())
        return True
    return False

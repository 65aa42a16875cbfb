"""What the moto server of a local cloud is started with."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from local.aws.moto import start_moto


class Started:
    """A process that is not started: what it would have been given."""

    def __init__(self, log_dir: Path) -> None:
        self.log_dir = log_dir
        self.env: Mapping[str, str] = {}

    async def start(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str], **_: Any
    ) -> None:
        self.env = env


@pytest.mark.story("CI-004")
def test_it_has_nothing_of_the_callers_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that is not there, or keys of a real account, are none of its business."""
    for name in ("PROFILE", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "ENDPOINT_URL"):
        monkeypatch.setenv(f"AWS_{name}", "the-callers")
    procs: Any = Started(tmp_path)
    asyncio.run(start_moto(procs, "us-east-1"))
    assert "the-callers" not in json.dumps(dict(procs.env))
    assert procs.env["PATH"] == os.environ["PATH"]
    # Whatever of it looks for keys finds these, and no others.
    found = (
        "import boto3; keys = boto3.Session().get_credentials(); "
        "print(keys.method, keys.access_key, keys.token)"
    )
    said = asyncio.run(_output([sys.executable, "-c", found], procs.env))
    assert said.split() == ["env", "AKIALOCALSETUP", "None"]


async def _output(argv: list[str], env: Mapping[str, str]) -> str:
    child = await asyncio.create_subprocess_exec(
        *argv, env=dict(env), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    return said.decode()

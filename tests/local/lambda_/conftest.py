"""A maker of functions of a test's own, hosted from their bundles."""

from pathlib import Path
from typing import Any

import pytest
from support.functions import ARN, MakeHost

from components import bundle
from local.lambda_.host import FunctionHost
from local.lambda_.model import FunctionSpec
from local.machine.processes import Processes


@pytest.fixture
def make_host(procs: Processes, tmp_path: Path) -> MakeHost:
    """Makes a host for a function of the given code; keywords go to its spec or to the host."""

    def make(code: str, *, name: str = "f", requirements: str = "", **options: Any) -> FunctionHost:
        folder = tmp_path / "project/functions" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
        (folder / "handler.py").write_text(code)
        (folder / "requirements.txt").write_text(requirements)
        (folder.parent / "constraints.txt").write_text("six==1.17.0\n")
        of_spec = {
            key: options.pop(key)
            for key in ("environment", "timeout_s", "handler", "retries", "max_event_age_s")
            if key in options
        }
        spec = FunctionSpec(
            **{
                "name": name,
                "arn": ARN + name,
                "handler": f"{name}.handler.handler",
                "zip_path": bundle.build(name, "host", tmp_path / "project"),
                "environment": {},
                "timeout_s": 10.0,
                "memory_mb": 512,
                "role_access_key": ("AKIAROLE", "secret"),
                **of_spec,
            }
        )
        return FunctionHost(procs, spec, **options)

    return make

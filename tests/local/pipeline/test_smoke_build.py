"""What delivery/smoke.yml does after a failure, whatever it was that failed; its `make` is a double
that writes what it was asked.
"""

from pathlib import Path

import pytest

from local.machine.processes import Processes
from local.pipeline import buildspec
from local.pipeline.build import FAILED, SUCCEEDED, Build
from recording.model import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.story("CI-004", "CI-005")]

MAKE = """#!/bin/sh
echo "make $*"
mkdir -p dist/smoke
[ "$1" != smoke ] || echo "  \\"outcome\\": \\"$OUTCOME\\"," > dist/smoke/summary.json
[ "$1" != "$FAILS" ]
"""
ROLLBACK = "make rollback STACK=dev OUTPUTS=outputs.json VERSION=6 FROM=7"


@pytest.mark.parametrize(
    ("fails", "outcome", "before", "last"),
    [
        ("", "passed", "6", "version 7 serves"),
        ("setup-local", "", "6", ROLLBACK),
        ("smoke", "failed", "6", ROLLBACK),
        ("latency", "passed", "6", ROLLBACK),
        ("smoke", "unjudged", "6", "nothing is rolled back: "),
        ("smoke", "failed", "7", "nothing to roll back to: "),
        ("smoke", "failed", "", "nothing to roll back to: "),
    ],
)
async def test_what_a_failed_smoke_test_comes_to(
    procs: Processes, tmp_path: Path, fails: str, outcome: str, before: str, last: str
) -> None:
    source, programs, lines = tmp_path / "source", tmp_path / "bin", list[str]()
    source.mkdir()
    programs.mkdir()
    (programs / "make").write_text(MAKE)
    (programs / "make").chmod(0o755)
    told = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "STACK": "dev",
        "OUTPUTS_JSON": "{}",
        "VERSION": "7",
        "PREVIOUS_VERSION": before,
        "FAILS": fails,
        "OUTCOME": outcome,
    }
    spec = buildspec.read(ROOT / "delivery/smoke.yml", "delivery/smoke.yml")
    done = await Build(procs, "smoke", tmp_path / "state", lines.append).run(spec, source, told, 60)
    assert done.status == (FAILED if fails else SUCCEEDED)
    assert lines[-1].startswith(last)
    if fails not in ("setup-local",):
        assert any(each.startswith("make smoke") and "VERSION=7" in each for each in lines)

"""The router's bench as a limit (LAM-005): it ends with 1 when a warm call takes too long."""

import subprocess
import sys

import pytest

from bench.router import too_slow
from recording.model import ROOT
from tlfif import names

pytestmark = pytest.mark.story("LAM-005")

LINE = "202 queued"


def rows(queued_ms: float, refused_ms: float) -> dict[str, dict[str, float]]:
    return {LINE: {"p95": queued_ms}, "429 rate limited": {"p95": refused_ms}}


def test_what_accepts_a_job_is_held_against_the_limit_and_named() -> None:
    assert too_slow(rows(names.WARM_P95_MS, 900.0), names.WARM_P95_MS) == []
    assert too_slow(rows(60.1, 1.0), names.WARM_P95_MS) == [
        "router: 202 queued: p95 60.1 ms, at most 60 ms are allowed"
    ]


@pytest.mark.integration
def test_the_router_keeps_to_it_on_this_machine() -> None:
    command = [sys.executable, "-m", "bench", "router", "60", "--limit"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert LINE in done.stdout

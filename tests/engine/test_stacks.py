"""Every stack under Pulumi's own engine, from its first preview to an empty account."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.engine import lines, needs_engine, site
from support.leftovers import inventory
from support.recordings import different, evaluate

from local.engine.cli import QUIET
from local.engine.deployment import read_state
from recording import kinds

pytestmark = [pytest.mark.engine, pytest.mark.integration, needs_engine]

SUBSCRIPTION = kinds.monitoring.TOPIC_SUBSCRIPTION.token
SECRET = "https://events.pagerduty.com/integration/5ec4e7/enqueue"
# Keys of every stack, and what a change of them reaches: no more, and nothing else.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "prod": (
        {
            "tl-fif:gpu": {"idleMinutes": 7},
            "tl-fif:gateway": {"deletionProtection": False, "extraPingCidrs": ["198.51.100.0/24"]},
        },
        {
            # The router says it to the client, in a version of its own; the node reads it at its
            # boot.
            "gpu-node-settings": "update",
            "router-function": "update",
            "router-alias": "update",
            "identity-users": "update",
            "gateway-api": "update",
            "gateway-deployment": "replace",
            "gateway-stage": "update",
        },
    ),
    "literal": (
        {"tl-fif:gpu": {"idleMinutes": 9}},
        # Its versions are the pipeline's.
        {"gpu-node-settings": "update", "router-function": "update"},
    ),
}


@pytest.mark.story("RED-001")
@pytest.mark.parametrize("stack", different())
async def test_a_stack_goes_up_changes_and_goes_without_a_trace(stack: str, tmp_path: Path) -> None:
    """dev is left out: it declares what prod does, and the tests beside this one take it up."""
    async with site(stack, tmp_path) as here:
        nothing = inventory(here.moto)
        await here.configure()
        declared = evaluate(stack)

        first = await here.do("preview")
        assert lines(first, f"+ {len(declared.resources) + 1} to create"), "and the stack itself"
        await here.do("up", *QUIET)
        await here.do("preview", "--expect-no-changes")
        deployed = await here.recording()
        assert [each.urn for each in deployed.resources] == [
            each.urn for each in declared.resources
        ]

        change, reached = CHANGES[stack]
        await here.configure(change)
        assert await here.steps() == reached
        await here.do("up", *QUIET)
        await here.do("refresh", *QUIET, "--expect-no-changes")

        await here.do("destroy", *QUIET)
        assert not (await here.state())["deployment"].get("resources")
        assert inventory(here.moto) == nothing


def test_every_stack_is_changed_here() -> None:
    assert set(CHANGES) == set(different())


@pytest.mark.story("API-005")
async def test_a_secret_stays_one_in_every_answer_and_in_the_state(tmp_path: Path) -> None:
    async with site("dev", tmp_path) as here:
        await here.configure()
        key = "tl-fif:alerts.pagerDutyUrl"
        said = [await here.do("config", "set", "--secret", "--path", key, SECRET)]
        said += [await here.do("preview", "--json", "--diff"), await here.do("up", *QUIET)]
        said += [await here.do("stack", "output", "--json"), await here.do("stack", "export")]
        stored = _files(tmp_path)

        assert [each for each in said if SECRET in each.output] == []
        assert [each for each in stored if SECRET.encode() in each.read_bytes()] == []
        shown = await here.do("stack", "export", "--show-secrets")
        state = read_state("dev", json.loads(shown.output))
        subscription = state.one(SUBSCRIPTION, "alerts-pagerduty")
        assert subscription.inputs["endpoint"] == SECRET, "which is what AWS is told"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]

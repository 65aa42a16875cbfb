"""After all other tests: every AWS call that a role made was granted to it, and nothing more is
granted.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support import ledger, run, world
from support.ledger import LEDGER
from support.recordings import evaluate

from local.aws.records import Call
from local.iam.usage import Findings, grants, judge
from recording import kinds
from recording.model import Recording

# It waits for all others, and gives up by itself.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(0)]

CANARY = "Synthetics runs the canary with this role; moto has no Synthetics"
BUILDER = "Image Builder's machine reads with this role; moto has no Image Builder"
# Granted, and used by no test: action of a policy's statement to the reason.
NOT_REACHED = {
    "gpu-image-policy/ReadSoftware: s3:GetObject": BUILDER,
    "gpu-image-policy/SeeMissing: s3:ListBucket": BUILDER,
    "health-canary-policy/FindBuckets: s3:ListAllMyBuckets": CANARY,
    "health-canary-policy/LocateBucket: s3:GetBucketLocation": CANARY,
    "health-canary-policy/PutMetrics: cloudwatch:PutMetricData": CANARY,
    "health-canary-policy/WriteCanaryLogs: logs:CreateLogGroup": CANARY,
    "health-canary-policy/WriteFindings: s3:PutObject": CANARY,
}
# What a guard does only where another is dead: not in every run of the clouds.
INSTEAD = {
    "cost-publisher-policy/AskForStop: sns:Publish",
    "cost-publisher-policy/ThrottleStage: apigateway:GET",
    "cost-publisher-policy/ThrottleStage: apigateway:PATCH",
}


@pytest.fixture(scope="module")
def findings(request: pytest.FixtureRequest) -> Findings:
    """On the calls that all other tests made, on whichever worker: of a cloud, or by functions in
    the tests' own process.
    """
    run.wait_for({item.nodeid for item in request.session.items if item.path != request.path})
    LEDGER.write()
    usual = evaluate("dev")
    own = [as_in(usual, call) for call in ledger.elsewhere()]
    found = [
        judge(grants(recording), calls) for recording, calls in [*ledger.clouds(), (usual, own)]
    ]
    return Findings(
        refused=[text for each in found for text in each.refused],
        unused=sorted(set.union(*(set(each.unused) for each in found)) - used(found)),
    )


def used(found: Sequence[Findings]) -> set[str]:
    """What some cloud used: not every one has everything."""
    return {text for each in found for text in each.used}


def as_in(recording: Recording, call: Call) -> Call:
    """A call in a test's own world, with the names that the recorded stack has for the same role
    and its one bucket.
    """
    roles = {
        world.ROLE: "router-role",
        world.GUARDIAN_ROLE: "guardian-role",
        world.MODEL_ROLE: "model-weights-role",
        world.LANE_ROLE: "cpu-worker-role",
        world.KILLER_ROLE: "guardrails-killer-role",
    }
    if call.role_arn not in roles:
        return call
    role = recording.one(kinds.iam.ROLE.token, roles[call.role_arn])
    bucket, params = recording.outputs["replies_bucket"], dict(call.params)
    if params.get("Bucket") in (world.BUCKET, world.NO_BUCKET):
        params["Bucket"] = bucket
    if source := params.get("CopySource"):
        params["CopySource"] = source.replace(f"{world.BUCKET}/", f"{bucket}/", 1)
    return replace(call, role_arn=role.outputs["arn"], params=params)


def starting_servers() -> set[Path]:
    """The test files that are marked so."""
    files = Path(__file__).parents[1].rglob("test_*.py")
    return {path for path in files if "pytest.mark.integration" in path.read_text()}


@pytest.fixture
def everything_ran(request: pytest.FixtureRequest) -> None:
    """Skips where only some of the integration tests were asked for: then much is not used,
    rightly.
    """
    config = request.config
    chosen = (
        config.getoption("keyword")
        or config.getoption("markexpr")
        or config.getoption("lf", default=False)
    )
    ran = {item.path for item in request.session.items}
    if chosen or not ran >= starting_servers():
        pytest.skip(
            "only with all the integration tests in the same run: without them much is granted and "
            "not used"
        )


@pytest.mark.story("OPS-003")
def test_no_role_made_a_call_that_its_policy_does_not_grant(findings: Findings) -> None:
    assert findings.refused == []


@pytest.mark.story("OPS-003")
@pytest.mark.usefixtures("everything_ran")
def test_no_role_is_granted_an_action_that_nothing_used(findings: Findings) -> None:
    assert set(findings.unused) - NOT_REACHED.keys() - INSTEAD == set()
    assert NOT_REACHED.keys() <= set(findings.unused), "used after all: take it off the list"

"""What AWS refuses or undoes although moto takes it: no stack has it, and each check finds it."""

from dataclasses import replace
from typing import Any

import pytest
from support.recordings import evaluate
from support.refusals import power_cycles, refused

from recording import kinds
from recording.evaluate import stacks
from recording.model import Recording, Resource


@pytest.mark.story("RED-002", "OPS-003")
@pytest.mark.parametrize("stack", stacks())
def test_aws_would_refuse_nothing(stack: str) -> None:
    assert refused(evaluate(stack)) == []


@pytest.mark.story("EC2-005")
@pytest.mark.parametrize("stack", stacks())
def test_no_setting_of_the_nodes_starts_one(stack: str) -> None:
    gpu = {"idleMinutes": 11, "slots": 2, "maxLifetimeHours": 5}
    changed = evaluate(stack, config={"tl-fif:gpu": gpu})
    assert power_cycles(evaluate(stack), changed) == []


def resource(type_: str, name: str = "odd", **inputs: Any) -> Resource:
    return Resource(
        urn=f"urn::{name}",
        type=type_,
        name=name,
        parent="",
        inputs=inputs,
        outputs={},
        id=name,
        dependencies=[],
        custom=True,
    )


def recorded(*resources: Resource) -> Recording:
    return Recording(stack="odd", resources=[*resources], outputs={})


API = resource(kinds.apigateway.REST_API.token, "api", body="{}")
GROUP = resource(kinds.lb.TARGET_GROUP.token, "group", targetType="instance")
FAULTS = {
    "a rate": resource(kinds.monitoring.EVENT_RULE.token, scheduleExpression="rate(1 minutes)"),
    "a canary": resource(kinds.monitoring.CANARY.token, schedule={"expression": "rate(8 hours)"}),
    "a target": resource(kinds.lb.TARGET_GROUP_ATTACHMENT.token, targetId="i-1"),
    "a policy": resource("aws:apigateway/restApiPolicy:RestApiPolicy", restApiId="api"),
}
ALLOWED = {
    "a rate": resource(kinds.monitoring.EVENT_RULE.token, scheduleExpression="rate(5 minutes)"),
    "a canary": resource(kinds.monitoring.CANARY.token, schedule={"expression": "rate(1 hour)"}),
    "a policy": resource("aws:apigateway/restApiPolicy:RestApiPolicy", restApiId="other"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_aws_refuses_is_named(fault: str) -> None:
    (said,) = refused(recorded(API, GROUP, FAULTS[fault]))
    assert said.startswith("odd: ")


@pytest.mark.parametrize("fault", ALLOWED)
def test_what_aws_takes_is_not(fault: str) -> None:
    assert refused(recorded(API, GROUP, ALLOWED[fault])) == []


def test_a_power_cycle_is_named_unless_the_program_ignores_it() -> None:
    old = resource(kinds.ec2.INSTANCE.token, userData="one")
    new = replace(old, inputs={"userData": "other"})
    (said,) = power_cycles(recorded(old), recorded(new))
    assert said.startswith("odd.userData: ")
    ignoring = replace(new, ignore_changes=["userData"])
    assert power_cycles(recorded(old), recorded(ignoring)) == []

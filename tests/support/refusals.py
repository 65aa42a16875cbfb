"""What AWS refuses or does unasked although moto accepts it, read off recordings."""

import re
from collections.abc import Iterator

from recording import kinds
from recording.model import Recording

# What the provider stops an instance for, and then starts it, however it was before.
POWER_CYCLED = ("userData", "userDataBase64", "instanceType", "ebsOptimized", "hibernation")
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)(s?)\)")
_MINUTES = {"minute": 1, "hour": 60, "day": 1440}


def refused(recording: Recording) -> list[str]:
    """One line for each resource that AWS would refuse or undo, with the reason."""
    checks = (_rates, _canaries, _targets, _policies_beside_bodies)
    return sorted(said for check in checks for said in check(recording))


def power_cycles(before: Recording, after: Recording) -> list[str]:
    """The properties by whose change the provider would start a stopped instance."""
    old = {each.urn: each for each in before.of_type(kinds.ec2.INSTANCE.token)}
    return [
        f"{new.name}.{name}: the provider stops, changes and starts the instance"
        for new in after.of_type(kinds.ec2.INSTANCE.token)
        for name in POWER_CYCLED
        if new.urn in old and name not in new.ignore_changes
        if old[new.urn].inputs.get(name) != new.inputs.get(name)
    ]


def _rates(recording: Recording) -> Iterator[str]:
    """EventBridge wants `1 minute` but `2 minutes`."""
    for rule in recording.of_type(kinds.monitoring.EVENT_RULE.token):
        said = rule.inputs.get("scheduleExpression", "")
        if said.startswith("rate(") and not _is_rate(said):
            yield f"{rule.name}: {said} is no rate of EventBridge's"


def _is_rate(said: str) -> bool:
    found = _RATE.fullmatch(said)
    return found is not None and int(found[1]) > 0 and (found[1] == "1") == (found[3] == "")


def _canaries(recording: Recording) -> Iterator[str]:
    """Synthetics takes a rate of at most an hour; `rate(0 minute)` is once."""
    for canary in recording.of_type(kinds.monitoring.CANARY.token):
        said = canary.inputs["schedule"]["expression"]
        found = _RATE.fullmatch(said)
        if said.startswith("rate(") and not (found and int(found[1]) * _MINUTES[found[2]] <= 60):
            yield f"{canary.name}: {said} is more than Synthetics takes as a rate; use cron"


def _targets(recording: Recording) -> Iterator[str]:
    """RegisterTargets wants instances that run, and ours are stopped."""
    groups = recording.of_type(kinds.lb.TARGET_GROUP.token)
    by_instance = any(each.inputs.get("targetType", "instance") == "instance" for each in groups)
    for each in recording.of_type(kinds.lb.TARGET_GROUP_ATTACHMENT.token):
        if by_instance:
            yield f"{each.name}: AWS registers no instance that is stopped; register its address"


def _policies_beside_bodies(recording: Recording) -> Iterator[str]:
    """PutRestApi, a changed body's call, clears the policy that was set beside the body."""
    bodies = {each.id: each for each in recording.of_type(kinds.apigateway.REST_API.token)}
    for each in recording.of_type("aws:apigateway/restApiPolicy:RestApiPolicy"):
        api = bodies.get(each.inputs["restApiId"])
        if api is not None and "body" in api.inputs:
            yield f"{each.name}: a changed body of {api.name} clears it; put it into the body"

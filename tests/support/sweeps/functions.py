"""When functions run, and which of their versions."""

from support.sweeps.rule import sweep

from recording import kinds
from recording.model import Recording

TARGET = kinds.monitoring.EVENT_TARGET.token
ONCE = kinds.lambda_.EVENT_INVOKE_CONFIG.token
ALIAS = kinds.lambda_.ALIAS.token
# EventBridge's and Lambda's shortest.
STALE_S = 60


@sweep
def a_schedule_that_failed_is_not_run_again(recording: Recording) -> list[str]:
    """Neither by EventBridge, which could not deliver, nor by Lambda, whose function raised."""
    once = {
        (each.inputs["functionName"], each.inputs.get("qualifier"))
        for each in recording.of_type(ONCE)
        if each.inputs["maximumRetryAttempts"] == 0
        and each.inputs["maximumEventAgeInSeconds"] == STALE_S
    }
    found: list[str] = []
    for target in recording.of_type(TARGET):
        policy = target.inputs.get("retryPolicy", {})
        wanted = {"maximumRetryAttempts": 0, "maximumEventAgeInSeconds": STALE_S}
        if policy != wanted:
            found.append(f"{target.name}: EventBridge delivers again, or later")
        name, _, qualifier = target.inputs["arn"].partition(":function:")[2].partition(":")
        if (name, qualifier or None) not in once:
            found.append(f"{target.name}: Lambda runs {name} again, or later")
    return found


@sweep
def somebody_moves_each_alias(recording: Recording) -> list[str]:
    """The pipeline, where there is one; otherwise the program, so that what is deployed serves."""
    return [
        f"{alias.name}: nobody moves it"
        for alias in recording.of_type(ALIAS)
        if "functionVersion" in alias.ignore_changes
    ]

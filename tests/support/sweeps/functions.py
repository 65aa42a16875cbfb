"""When functions run, and which of their versions."""

from support.sweeps.access import policies
from support.sweeps.rule import listed, sweep

from components.billed import FUNCTION
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
    once = _called_once(recording)
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
def who_calls_a_function_finds_it_and_calls_it_once(recording: Recording) -> list[str]:
    """The function is named before it is made; and Lambda repeats no call that its caller would."""
    functions = {each.outputs["arn"]: each.inputs["name"] for each in recording.of_type(FUNCTION)}
    once = _called_once(recording)
    found: list[str] = []
    for policy, statement in policies(recording):
        called = listed(statement["Resource"])
        if "lambda:InvokeFunction" not in listed(statement["Action"]):
            continue
        found += [
            f"{policy}: calls {arn}, which is not there" for arn in called if arn not in functions
        ]
        names = [functions[arn] for arn in called if arn in functions]
        found += [
            f"{policy}: Lambda runs {n} again, or later" for n in names if (n, None) not in once
        ]
    return found


def _called_once(recording: Recording) -> set[tuple[str, str | None]]:
    """The functions, by name and qualifier, of which Lambda repeats no asynchronous call."""
    return {
        (each.inputs["functionName"], each.inputs.get("qualifier"))
        for each in recording.of_type(ONCE)
        if each.inputs["maximumRetryAttempts"] == 0
        and each.inputs["maximumEventAgeInSeconds"] == STALE_S
    }


@sweep
def somebody_moves_each_alias(recording: Recording) -> list[str]:
    """The pipeline, where there is one; otherwise the program, so that what is deployed serves."""
    return [
        f"{alias.name}: nobody moves it"
        for alias in recording.of_type(ALIAS)
        if "functionVersion" in alias.ignore_changes
    ]

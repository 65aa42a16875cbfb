"""When functions run, and which of their versions."""

from support.sweeps.access import ROLE_POLICY, policies
from support.sweeps.rule import listed, sweep

from components.billed import BUILD, FUNCTION, PIPELINE
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
        if ":function:" not in target.inputs["arn"]:
            # A message to people may come later; it does nothing twice.
            continue
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
    """The function is named before it is made; and Lambda repeats no call that its caller would,
    but of a build, which waits for the answer.
    """
    functions = {each.outputs["arn"]: each.inputs["name"] for each in recording.of_type(FUNCTION)}
    once = _called_once(recording)
    found: list[str] = []
    for policy, statement in policies(recording):
        # Versions are the function's.
        called = [arn.removesuffix(":*") for arn in listed(statement["Resource"])]
        if "lambda:InvokeFunction" not in listed(statement["Action"]):
            continue
        found += [
            f"{policy}: calls {arn}, which is not there" for arn in called if arn not in functions
        ]
        waits = policy in _policies_of_builds(recording)
        names = [functions[arn] for arn in called if arn in functions and not waits]
        found += [
            f"{policy}: Lambda runs {n} again, or later" for n in names if (n, None) not in once
        ]
    return found


def _policies_of_builds(recording: Recording) -> set[str]:
    roles = {each.inputs["serviceRole"] for each in recording.of_type(BUILD)}
    names = {role.rpartition("/")[2] for role in roles}
    return {each.name for each in recording.of_type(ROLE_POLICY) if each.inputs["role"] in names}


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
    piped = bool(recording.of_type(PIPELINE))
    return [
        f"{alias.name}: {'two move' if piped else 'nobody moves'} it"
        for alias in recording.of_type(ALIAS)
        if ("functionVersion" in alias.ignore_changes) != piped
    ]

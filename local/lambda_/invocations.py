"""Calls that a deployment makes of its functions (`aws.lambda_.Invocation`).

On AWS they are made while the program is deployed; here no function runs then. So whoever runs
what is deployed makes them once the functions are up, in the background, and logs what they answer.
"""

from typing import NamedTuple

from recording import kinds
from recording.model import Recording, Resource

FUNCTION = kinds.lambda_.FUNCTION.token
INVOCATION = kinds.lambda_.INVOCATION.token


class Call(NamedTuple):
    """One call: the function's ARN, and the event as JSON."""

    function_arn: str
    payload: bytes


def of(recording: Recording) -> list[Call]:
    """The calls that a deployment of this recording makes, in no order.

    Raises LookupError for one of a function that the stack does not have.
    """
    arns = {each.inputs["name"]: each.outputs["arn"] for each in recording.of_type(FUNCTION)}
    return [_call(each, arns) for each in recording.of_type(INVOCATION)]


def _call(invocation: Resource, arns: dict[str, str]) -> Call:
    name = invocation.inputs["functionName"]
    if name not in arns:
        known = ", ".join(sorted(arns))
        raise LookupError(f"{invocation.name} calls {name}, the stack has only: {known}")
    return Call(arns[name], invocation.inputs["input"].encode())

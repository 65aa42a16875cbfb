"""AWS's own policies, as far as the program attaches them to roles.

managed.json has each one's text, its version and the day from which that is the default: as in moto
5.2.1 (`moto/iam/aws_managed_policies.py`, which is made from IAM's own GetPolicyVersion), read on
2026-11-26; a test holds the two together.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from local.iam.policy import PolicyError, Statement
from local.iam.usage import Grant
from recording import kinds
from recording.model import ACCOUNT_ID, Recording

_TEXTS = Path(__file__).with_name("managed.json")
_ROLE = kinds.iam.ROLE.token


@cache
def texts() -> dict[str, Any]:
    """A policy's ARN to its `document`, with its `version` and the date `since` when."""
    return json.loads(_TEXTS.read_text())


def attached(recording: Recording) -> list[Grant]:
    """Every statement of AWS's own policies that roles have.

    Raises PolicyError for a policy whose text is not here.
    """
    arns = {role.outputs["name"]: role.outputs["arn"] for role in recording.of_type(_ROLE)}
    return [
        Grant(role_arn=arns[each.inputs["role"]], policy=each.name, statement=statement)
        for each in recording.of_type(kinds.iam.ROLE_POLICY_ATTACHMENT.token)
        for statement in _statements(each.inputs["policyArn"])
    ]


@cache
def _statements(arn: str) -> tuple[Statement, ...]:
    if arn not in texts():
        raise PolicyError(f"{arn}: local/iam/managed.json does not have its text")
    # The one variable there is: whoever is asked about is of this account.
    raw = json.dumps(texts()[arn]["document"]).replace("${aws:PrincipalAccount}", ACCOUNT_ID)
    if "${" in raw:
        raise PolicyError(f"{arn}: a variable in it is not understood")
    return tuple(Statement.parse(each) for each in json.loads(raw)["Statement"])

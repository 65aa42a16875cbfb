"""Who may do what: roles, their policies, and who calls a function."""

import ast
import inspect
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

from support.sweeps.rule import listed, sweep

from components import iam, iam_delivery
from recording import kinds
from recording.model import Recording

ROLE = kinds.iam.ROLE.token
ROLE_POLICY = kinds.iam.ROLE_POLICY.token
ATTACHMENT = kinds.iam.ROLE_POLICY_ATTACHMENT.token
PERMISSION = kinds.lambda_.PERMISSION.token
_AWS = "arn:aws:iam::aws:policy"
# A statement's effect, and whether it has a condition: a Deny holds always.
PLAIN = {("Allow", False), ("Allow", True), ("Deny", False)}
# AWS's own policies: their stars are AWS's, and each stands for what we cannot write more narrowly.
MANAGED_POLICIES = {
    f"{_AWS}/AmazonSSMManagedInstanceCore": "Session Manager, the only way into a node",
    f"{_AWS}/EC2InstanceProfileForImageBuilder": "an image's builder gets its component, and logs",
    f"{_AWS}/service-role/AmazonAPIGatewayPushToCloudWatchLogs": "API Gateway's log role",
}


def policies(recording: Recording) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every role's own policy, with the policy's name."""
    for policy in recording.of_type(ROLE_POLICY):
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            yield policy.name, statement


@sweep
def roles_are_least_privilege(recording: Recording) -> list[str]:
    """No action with a star; the resource `*` only where components/iam.py says why."""
    found = [
        f"{name}: action {action}"
        for name, s in policies(recording)
        for action in listed(s["Action"])
        if "*" in action
    ]
    reasons = wildcard_reasons()
    for name, statement in policies(recording):
        sid = statement.get("Sid")
        if "*" in listed(statement["Resource"]) and sid not in reasons:
            found.append(f"{name}: resource * of {sid} without a reason in components/iam.py")
    return found


@cache
def wildcard_reasons() -> dict[str, str]:
    """Statement id to the reason for its `*`: the docstring, beginning with it, of the function
    that makes it.
    """
    functions = [
        node
        for module in (iam, iam_delivery)
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.FunctionDef)
    ]
    documented = [(node, ast.get_docstring(node) or "") for node in functions]
    return {
        constant.value: reason.removeprefix("`*`: ")
        for node, reason in documented
        if reason.startswith("`*`: ")
        for constant in ast.walk(node)
        if isinstance(constant, ast.Constant)
        and isinstance(constant.value, str)
        and constant.value.isidentifier()
    }


@sweep
def who_reads_objects_sees_that_one_is_missing(recording: Recording) -> list[str]:
    """Without ListBucket S3 answers 403 for a key that is not there, as it does for a fault."""
    reads: dict[str, set[str]] = defaultdict(set)
    lists: dict[str, set[str]] = defaultdict(set)
    for policy in recording.of_type(ROLE_POLICY):
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            buckets = {arn.partition("/")[0] for arn in listed(statement["Resource"])}
            if "s3:GetObject" in listed(statement["Action"]):
                reads[policy.inputs["role"]] |= buckets
            if "s3:ListBucket" in listed(statement["Action"]) and "Condition" not in statement:
                lists[policy.inputs["role"]] |= buckets
    return [
        f"{role}: reads objects of {bucket} and may not list it"
        for role, buckets in reads.items()
        for bucket in sorted(buckets - lists[role])
    ]


@sweep
def roles_name_no_more_than_their_own_statements(recording: Recording) -> list[str]:
    """Only Allow statements, and Deny without a condition, with an id and without Not…; managed
    policies only from the reasoned list.
    """
    found = [
        f"{name}: {s.get('Sid')} is no plain statement with an id"
        for name, s in policies(recording)
        if (s.get("Effect"), "Condition" in s) not in PLAIN
        or "Sid" not in s
        or any(key.startswith("Not") for key in s)
    ]
    attached = recording.of_type(ATTACHMENT)
    found += [
        f"{a.name}: {a.inputs['policyArn']}"
        for a in attached
        if a.inputs["policyArn"] not in MANAGED_POLICIES
    ]
    return found + [
        f"{r.name}: policies of its own"
        for r in recording.of_type(ROLE)
        if "inlinePolicies" in r.inputs
    ]


@sweep
def roles_are_taken_by_one_service_and_used(recording: Recording) -> list[str]:
    found: list[str] = []
    for role in recording.of_type(ROLE):
        statements = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
        principals = [s["Principal"] for s in statements]
        if [list(p) for p in principals] != [["Service"]] or not isinstance(
            principals[0]["Service"], str
        ):
            found.append(f"{role.name}: trusts {principals}")
        policy_types = (ROLE_POLICY, ATTACHMENT)
        users = [
            r
            for r in recording.resources
            if role.urn in r.dependencies and r.type not in policy_types
        ]
        found += [] if users else [f"{role.name}: nothing uses it"]
    return found


@sweep
def functions_are_called_only_for_one_source(recording: Recording) -> list[str]:
    return [p.name for p in recording.of_type(PERMISSION) if not p.inputs.get("sourceArn")]

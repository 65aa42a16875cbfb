"""Policies are read and evaluated as IAM does it, and nothing else is taken for granted."""

from typing import Any

import pytest

from local.iam.policy import Context, Policy, PolicyError, Statement

ALLOW = {"Sid": "s", "Effect": "Allow", "Action": "a:B", "Resource": "*"}


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"StringEquals": {"k": "a"}}, {"k": "a"}, True),
        ({"StringEquals": {"k": ["a", "b"]}}, {"k": "b"}, True),
        ({"StringEquals": {"k": "a"}}, {}, False),
        ({"StringEquals": {"k": "a", "j": "b"}}, {"k": "a"}, False),
        ({"Null": {"k": "true"}}, {}, True),
        ({"Null": {"k": "true"}}, {"k": "a"}, False),
        ({"Null": {"k": "false"}}, {"k": "a"}, True),
        (
            {"ArnEquals": {"k": "arn:aws:ec2:*:1:instance/i-1"}},
            {"k": "arn:aws:ec2:us-east-1:1:instance/i-1"},
            True,
        ),
        ({"ArnEquals": {"k": "arn:1"}}, {}, False),
        ({"ForAllValues:StringEquals": {"k": ["a"]}}, {"k": "a"}, True),
        ({"ForAllValues:StringEquals": {"k": ["a"]}}, {"k": ("a", "b")}, False),
        ({"ForAllValues:StringEquals": {"k": ["a"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"k": ["a", "c"]}}, {"k": ("a", "b")}, True),
        ({"ForAnyValue:StringEquals": {"k": ["c"]}}, {"k": ("a", "b")}, False),
        ({"ForAnyValue:StringEquals": {"k": ["a"]}}, {}, False),
        ({"StringEquals": {"K": "a"}}, {"k": "a"}, True),
        ({"StringNotEquals": {"k": "a"}}, {"k": "b"}, True),
        ({"StringNotEquals": {"k": "a"}}, {"k": "a"}, False),
        ({"StringNotEquals": {"k": "a"}}, {}, True),
        ({"StringLike": {"k": "t?st*"}}, {"k": "testing"}, True),
        ({"StringLike": {"k": "t?st"}}, {"k": "testing"}, False),
        ({"StringNotLike": {"k": "t*"}}, {"k": "testing"}, False),
        ({"StringNotLike": {"k": "t*"}}, {}, True),
    ],
)
def test_conditions_hold_as_iams_do(
    condition: dict[str, Any], context: Context, holds: bool
) -> None:
    statement = Statement.parse({**ALLOW, "Condition": condition})
    assert statement.applies("a:B", "r", context) is holds


@pytest.mark.parametrize(
    ("pattern", "resource", "matches"),
    [
        ("arn:aws:s3:::b/replies/*", "arn:aws:s3:::b/replies/x/y.json", True),
        ("arn:aws:s3:::b/replies/*", "arn:aws:s3:::b/replies", False),
        ("arn:aws:s3:::b", "arn:aws:s3:::b/replies/x", False),
        ("arn:aws:s3:::b.c/*", "arn:aws:s3:::bxc/k", False),
    ],
)
def test_resources_match_as_iams_do(pattern: str, resource: str, matches: bool) -> None:
    statement = Statement.parse({**ALLOW, "Resource": pattern})
    assert statement.applies("a:B", resource, {}) is matches


@pytest.mark.parametrize(
    ("action", "applies"),
    [("a:B", True), ("A:b", True), ("a:*", True), ("*", True), ("a:C", False), ("b:*", False)],
)
def test_actions_match_whatever_their_case(action: str, applies: bool) -> None:
    statement = Statement.parse({**ALLOW, "Action": ["x:Y", action]})
    assert statement.applies("a:B", "r", {}) is applies


def test_a_denial_comes_before_every_allow() -> None:
    deny = {**ALLOW, "Effect": "Deny", "Resource": "secret"}
    policy = Policy.parse({"Statement": [ALLOW, deny]})
    assert policy.effect("a:B", "secret", {}) == "Deny"
    assert policy.effect("a:B", "other", {}) == "Allow"
    assert policy.effect("a:C", "other", {}) is None


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (None, "a policy is a map with a Statement, not null"),
        ({"Statement": "x"}, "a policy is a map with a Statement"),
        ({"Statement": [{**ALLOW, "Effect": "allow"}]}, "Effect is Allow or Deny"),
        ({"Statement": [{**ALLOW, "NotAction": "x"}]}, "policy key 'NotAction' is not supported"),
        ({"Statement": [{**ALLOW, "Principal": {"AWS": "me"}}]}, "principal {'AWS': 'me'}"),
        ({"Statement": [{"Effect": "Deny", "Action": "*"}]}, "needs Action and Resource"),
        ({"Statement": [{**ALLOW, "Resource": 1}]}, "Resource is a text or a list of them"),
        ({"Statement": {**ALLOW, "Condition": {"Bool": {"k": "true"}}}}, "operator 'Bool'"),
        ({"Statement": {**ALLOW, "Condition": []}}, "a Condition maps operators to keys"),
    ],
)
def test_what_is_not_understood_is_named(document: Any, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(document)
    assert says in str(caught.value)

"""Who may do what, by the policies that the program gives, as IAM would decide."""

import json
from dataclasses import replace
from typing import Any

import pytest
from support.recordings import evaluate

from local.iam.managed import attached
from local.iam.policy import PolicyError, Statement
from local.iam.usage import AccessRequest, Grant, allowing, grants
from recording import kinds
from recording.model import Recording, Resource
from tools.posture import reach

POLICY = kinds.iam.ROLE_POLICY.token
TOPIC = kinds.monitoring.TOPIC.token


@pytest.fixture(scope="module")
def literal() -> Recording:
    return evaluate(reach.STACK)


@pytest.fixture(scope="module")
def found(literal: Recording) -> dict[str, list[str]]:
    return reach.reach(literal)


# What nobody in the stack may: an operator's own rights, or nobody's at all.
NOBODYS = [
    "start a node that is latched",
    "start another stack's node",
    "make or end a node",
    "write the tariff",
    "replace the node's software",
    "call the guardian",
    "remove the router",
    "change the router's settings or role",
    "put code into another function",
    "read Slack's webhook by its path",
    "read the smoke user's password by its path",
    "read Slack's webhook among others",
    "read the smoke user's password among others",
    "make a user, or see one",
    "give a right, or pass one on",
    "hand a role to something",
]


@pytest.mark.parametrize("deed", NOBODYS)
def test_nobody_may(deed: str, found: dict[str, list[str]]) -> None:
    assert found[deed] == []


@pytest.mark.story("CI-004", "LAM-004", "OPS-003")
@pytest.mark.parametrize(
    ("deed", "who"),
    [
        ("put code into the router", ["deploy stage"]),
        ("move the router's alias", ["deploy stage", "smoke stage"]),
        ("read the smoke user's password", ["smoke stage"]),
        ("read Slack's webhook", ["deploy stage", "smoke stage"]),
        ("say which image the nodes get", ["bake stage"]),
        ("replace a stage's source", ["pipeline"]),
        ("start a node", ["guardian", "router"]),
        ("lift the latch of a node", ["guardian"]),
        ("replace the lane's weights", ["model fetch"]),
        ("close the API's stage", ["cost publisher", "meter"]),
        ("have everything stopped", ["cost publisher"]),
        ("write what the meter counted", ["meter"]),
        ("read what a function logged", ["API Gateway's logs"]),
        ("read prompts' replies", ["API Gateway", "guardian", "instant lane", "node", "router"]),
    ],
)
def test_these_alone_may(deed: str, who: list[str], found: dict[str, list[str]]) -> None:
    assert found[deed] == who


MANAGED = "arn:aws:iam::aws:policy"


def without_the_deny(recording: Recording) -> Recording:
    """The recording with roles that are not kept from the secrets."""

    def less(resource: Resource) -> Resource:
        if resource.type != POLICY:
            return resource
        document = json.loads(resource.inputs["policy"])
        kept = [each for each in document["Statement"] if each["Effect"] == "Allow"]
        policy = json.dumps({**document, "Statement": kept})
        return replace(resource, inputs={**resource.inputs, "policy": policy})

    return replace(recording, resources=[less(each) for each in recording.resources])


@pytest.mark.parametrize("call", ["", " among others"])
def test_aws_own_policies_count_and_what_is_denied_is_not_allowed(
    call: str, literal: Recording, found: dict[str, list[str]]
) -> None:
    """AmazonSSMManagedInstanceCore reads every parameter of the account."""
    for what in ("read Slack's webhook", "read the smoke user's password"):
        assert {"node", "image's builder"}.isdisjoint(found[what + call])
        open_ = reach.reach(without_the_deny(literal))[what + call]
        assert {"node", "image's builder"} <= set(open_)


@pytest.mark.parametrize(
    "action", ["GetParameter", "GetParameters", "GetParametersByPath", "GetParameterHistory"]
)
@pytest.mark.parametrize("role", ["gpu-node-role", "gpu-image-role"])
@pytest.mark.parametrize("parameter", ["", "/smoke_user", "/slack_webhook-other"])
def test_no_call_reads_a_secret_of_any_stack_from_a_node(
    role: str, action: str, parameter: str, literal: Recording
) -> None:
    arn = literal.one(kinds.iam.ROLE.token, role).outputs["arn"]
    given = [each for each in [*grants(literal), *attached(literal)] if each.role_arn == arn]
    everything = Statement.parse({"Effect": "Allow", "Action": "ssm:*", "Resource": "*"})
    given.append(Grant(role_arn=arn, policy="", statement=everything))
    secret = f"arn:aws:ssm:us-east-1:123456789012:parameter/tl-fif-secrets{parameter}"

    def allowed(resource: str) -> bool:
        asked = AccessRequest(action=f"ssm:{action}", resource=resource, context={})
        return allowing(asked, given) is not None

    assert not allowed(secret)
    assert allowed(secret.replace("-secrets", ""))


def test_a_policy_of_aws_without_its_text_is_an_error(literal: Recording) -> None:
    resources = [
        replace(each, inputs={**each.inputs, "policyArn": f"{MANAGED}/ReadOnlyAccess"})
        if each.type == kinds.iam.ROLE_POLICY_ATTACHMENT.token
        else each
        for each in literal.resources
    ]
    with pytest.raises(PolicyError, match=r"policy/ReadOnlyAccess: .* does not have its text"):
        reach.reach(replace(literal, resources=resources))


def test_who_tests_a_commit_may_store_coverage_and_no_more(found: dict[str, list[str]]) -> None:
    """The test stage runs whatever a commit says."""
    assert [deed for deed, who in found.items() if "test stage" in who] == ["store coverage"]


@pytest.mark.parametrize(("who", "stops"), [("meter-role", False), ("cost-publisher-role", True)])
def test_who_counts_throttles_the_one_stage_and_asks_one_topic_to_stop(
    who: str, stops: bool, literal: Recording
) -> None:
    arn = literal.one(kinds.iam.ROLE.token, who).outputs["arn"]
    given = [each for each in [*grants(literal), *attached(literal)] if each.role_arn == arn]
    api = literal.one(kinds.apigateway.REST_API.token, "gateway-api").id
    topics = {each.name: each.outputs["arn"] for each in literal.of_type(TOPIC)}

    def may(action: str, resource: str) -> bool:
        return (
            allowing(AccessRequest(action=action, resource=resource, context={}), given) is not None
        )

    apis = "arn:aws:apigateway:us-east-1::/restapis"
    assert may("apigateway:PATCH", f"{apis}/{api}/stages/v1")
    for other in (
        f"{api}/stages/v2",
        f"{api}/resources/x",
        f"{api}/deployments",
        "other/stages/v1",
    ):
        assert not may("apigateway:PATCH", f"{apis}/{other}"), other
    for action in ("POST", "PUT", "DELETE"):
        assert not may(f"apigateway:{action}", f"{apis}/{api}/stages/v1"), action
    assert {name for name, topic in topics.items() if may("sns:Publish", topic)} == (
        {"alerts-stop"} if stops else set()
    )
    assert not may("cloudwatch:PutMetricData", "*")


def test_the_authorizer_and_the_probes_may_none_of_it(found: dict[str, list[str]]) -> None:
    mentioned = {who for each in found.values() for who in each}
    assert mentioned.isdisjoint({"authorizer", "VPC probe", "canary", "queue health"})


def test_the_queue_is_for_functions_in_the_vpc_and_nodes(literal: Recording) -> None:
    assert set(reach.queue_clients(literal)) == {
        "VPC probe",
        "budget killer",
        "guardian",
        "instant lane",
        "node",
        "payload samples",
        "queue health",
        "router",
    }


def granted(recording: Recording, policy: str, **statement: Any) -> Recording:
    """The recording with one statement more in a policy."""

    def more(inputs: dict[str, Any]) -> dict[str, Any]:
        document = json.loads(inputs["policy"])
        document["Statement"].append({"Sid": "More", "Effect": "Allow", **statement})
        return {**inputs, "policy": json.dumps(document)}

    resources = [
        replace(each, inputs=more(each.inputs))
        if (each.type, each.name) == (POLICY, policy)
        else each
        for each in recording.resources
    ]
    return replace(recording, resources=resources)


def test_a_right_too_many_is_seen(literal: Recording) -> None:
    more = granted(literal, "meter-policy", Action=["iam:PassRole"], Resource="*")
    assert reach.reach(more)["hand a role to something"] == ["meter"]
    more = granted(
        literal,
        "delivery-test-policy",
        Action=["ssm:GetParametersByPath"],
        Resource="arn:aws:ssm:*:*:parameter/tl-fif-secrets",
    )
    assert reach.reach(more)["read Slack's webhook by its path"] == ["test stage"]


def test_a_role_that_nobody_named_is_an_error(literal: Recording) -> None:
    role = literal.of_type(kinds.iam.ROLE.token)[0]
    strange = replace(literal, resources=[replace(role, name="new-role")])
    with pytest.raises(LookupError, match=r"say in tools/posture/reach\.py who has new-role"):
        reach.roles(strange)


def test_each_that_is_named_has_a_role(literal: Recording) -> None:
    assert {each.name for each in literal.of_type(kinds.iam.ROLE.token)} == set(reach.WHO)

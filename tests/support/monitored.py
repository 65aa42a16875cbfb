"""What the local CloudWatch, SNS and Budgets are told of, beside a running cloud."""

import json
from typing import Any

from local.aws.messages import Answer
from local.aws.requests import AwsRequest
from recording import kinds
from recording.model import ACCOUNT_ID, Recording, Resource

MAIL = f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:mail"
STOP = f"arn:aws:sns:us-east-1:{ACCOUNT_ID}:stop"
KILLER = f"arn:aws:lambda:us-east-1:{ACCOUNT_ID}:function:killer"
TOPIC_POLICY = kinds.monitoring.TOPIC_POLICY.token
SUBSCRIPTION = kinds.monitoring.TOPIC_SUBSCRIPTION.token
PERMISSION = kinds.lambda_.PERMISSION.token


def resource(kind: str, name: str, inputs: dict[str, Any], **outputs: Any) -> Resource:
    return Resource(
        urn=f"urn:{name}",
        type=kind,
        name=name,
        parent="",
        inputs=inputs,
        outputs={**inputs, "name": name, **outputs},
        id=name,
        dependencies=[],
        custom=True,
    )


def recording(*resources: Resource) -> Recording:
    return Recording(stack="dev", resources=list(resources), outputs={})


def topic(arn: str, *publishers: str, account: str = ACCOUNT_ID) -> Resource:
    """A topic's policy: these services may publish for an account."""
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"Service": each},
            "Action": "sns:Publish",
            "Resource": arn,
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        }
        for each in publishers
    ]
    return resource(
        TOPIC_POLICY, f"policy-{arn}", {"arn": arn, "policy": json.dumps({"Statement": statements})}
    )


def subscribed(arn: str, protocol: str, endpoint: str) -> Resource:
    inputs = {"topic": arn, "protocol": protocol, "endpoint": endpoint}
    return resource(SUBSCRIPTION, f"{protocol}-{arn}", inputs)


def permitted(topic_arn: str, function_arn: str) -> list[Resource]:
    """A function and what lets a topic call it."""
    name = function_arn.rpartition(":")[2]
    function = resource(kinds.lambda_.FUNCTION.token, name, {"name": name}, arn=function_arn)
    inputs = {"function": name, "principal": "sns.amazonaws.com", "sourceArn": topic_arn}
    return [function, resource(PERMISSION, f"{name}-from-topic", inputs)]


class Calls:
    """Takes what topics call functions with."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    async def post(self, arn: str, event: bytes) -> None:
        self.events.append((arn, json.loads(event)))


def request(service: str, operation: str, **params: Any) -> AwsRequest:
    return AwsRequest(
        service=service,
        operation=operation,
        protocol="json",
        public=False,
        access_key="key",
        region="us-east-1",
        params=params,
    )


def answering(body: dict[str, Any]):
    """What moto would say."""

    async def ask() -> Answer:
        return Answer(200, (), json.dumps(body).encode())

    return ask

"""SNS: what is published reaches functions here; mails and pages stay on this machine."""

import asyncio
import json
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from local.iam.policy import PolicyError, Statement
from recording import kinds
from recording.model import ACCOUNT_ID, Recording, Resource

SUBSCRIPTION = kinds.monitoring.TOPIC_SUBSCRIPTION.token
TOPIC_POLICY = kinds.monitoring.TOPIC_POLICY.token
PERMISSION = kinds.lambda_.PERMISSION.token
FUNCTION = kinds.lambda_.FUNCTION.token
SNS = "sns.amazonaws.com"
MAX_MESSAGES = 1_000

# Gets (function ARN, event) of a function that a topic calls.
Post = Callable[[str, bytes], Awaitable[object]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One published message; `to` are the endpoints of the topic's subscriptions."""

    topic_arn: str
    subject: str
    text: str
    to: tuple[str, ...]


@dataclass(frozen=True)
class _Subscription:
    protocol: str
    endpoint: str


class Topics:
    """The topics of a deployed stack; `messages` are the latest published, the oldest first."""

    def __init__(self, post: Post) -> None:
        self.messages: deque[Message] = deque(maxlen=MAX_MESSAGES)
        self._post = post
        self._subscriptions: dict[str, list[_Subscription]] = {}
        self._policies: dict[str, str] = {}
        self._deliveries: set[asyncio.Task[None]] = set()

    def adopt(self, recording: Recording) -> None:
        """Takes subscriptions and policies from what is deployed."""
        callable_by = _callable(recording)
        self._subscriptions = {}
        for each in recording.of_type(SUBSCRIPTION):
            topic, protocol = each.inputs["topic"], each.inputs["protocol"]
            endpoint = str(each.inputs["endpoint"])
            if protocol == "lambda" and (topic, endpoint) not in callable_by:
                _log.warning("%s may not call %s: SNS delivers nothing there", topic, endpoint)
                continue
            self._subscriptions.setdefault(topic, []).append(_Subscription(protocol, endpoint))
        self._policies = {
            each.inputs["arn"]: each.inputs["policy"] for each in recording.of_type(TOPIC_POLICY)
        }

    def publish(self, topic_arn: str, subject: str, text: str) -> str:
        """Publishes a message; what it causes happens later. Returns its id."""
        subscribed = self._subscriptions.get(topic_arn, [])
        to = tuple(each.endpoint for each in subscribed)
        self.messages.append(Message(topic_arn=topic_arn, subject=subject, text=text, to=to))
        message_id = str(uuid.uuid4())
        event = json.dumps(_event(topic_arn, message_id, subject, text)).encode()
        for each in subscribed:
            if each.protocol == "lambda":
                self._deliver(each.endpoint, event)
        return message_id

    def publish_from(self, service: str, topic_arn: str, subject: str, text: str) -> bool:
        """Publishes for one of AWS's services, if the topic's policy lets it; whether it did."""
        if not _admits(self._policies.get(topic_arn), service, topic_arn):
            _log.warning("%s may not publish to %s", service, topic_arn)
            return False
        self.publish(topic_arn, subject, text)
        return True

    async def close(self) -> None:
        """Abandons the deliveries under way."""
        for task in self._deliveries:
            task.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)

    def _deliver(self, function_arn: str, event: bytes) -> None:
        task = asyncio.create_task(self._call(function_arn, event))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def _call(self, function_arn: str, event: bytes) -> None:
        try:
            await self._post(function_arn, event)
        except Exception as error:
            _log.warning("SNS could not call %s: %s", function_arn, error)


def _callable(recording: Recording) -> set[tuple[str, str]]:
    """(topic, function's or alias's ARN) for which SNS has Lambda's permission."""
    arns = {each.outputs["name"]: each.outputs["arn"] for each in recording.of_type(FUNCTION)}
    return {
        (each.inputs.get("sourceArn", ""), _called(each, arns))
        for each in recording.of_type(PERMISSION)
        if each.inputs["principal"] == SNS
    }


def _called(permission: Resource, arns: Mapping[str, str]) -> str:
    named = permission.inputs["function"]
    qualifier = permission.inputs.get("qualifier")
    arn = arns.get(named, named)
    return f"{arn}:{qualifier}" if qualifier else arn


def _admits(policy: str | None, service: str, topic_arn: str) -> bool:
    """Whether a topic's policy lets a service publish that acts for this account."""
    context = {"aws:sourceaccount": ACCOUNT_ID}
    return any(
        statement.effect == "Allow" and statement.applies("sns:Publish", topic_arn, context)
        for statement in _statements(policy, service)
    )


def _statements(policy: str | None, service: str) -> list[Statement]:
    raw = json.loads(policy)["Statement"] if policy else []
    try:
        return [
            Statement.parse({key: value for key, value in each.items() if key != "Principal"})
            for each in raw
            if service in str(each.get("Principal", ""))
        ]
    except PolicyError as error:
        _log.warning("a topic's policy is not understood: %s", error)
        return []


def _event(topic_arn: str, message_id: str, subject: str, text: str) -> dict[str, Any]:
    """What SNS calls a function with."""
    notification = {
        "Type": "Notification",
        "MessageId": message_id,
        "TopicArn": topic_arn,
        "Subject": subject,
        "Message": text,
        "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "SignatureVersion": "1",
        "Signature": "local",
        "SigningCertUrl": "https://sns.invalid/local.pem",
        "UnsubscribeUrl": "https://sns.invalid/",
        "MessageAttributes": {},
    }
    record = {
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "EventSubscriptionArn": f"{topic_arn}:{uuid.uuid5(uuid.NAMESPACE_URL, topic_arn)}",
        "Sns": notification,
    }
    return {"Records": [record]}

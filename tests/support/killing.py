"""Messages on the stop topic, and the function that hears them in a test's own world."""

import asyncio
import json
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from support.world import KILLER_ROLE, World, session

from budget_killer import handler as killer
from budget_killer.messages import UNSURE_S
from tlfif.money import months

# As Budgets writes it.
TEXT = """AWS Budget Notification November 26, 2026
AWS Account 123456789012

Dear AWS Customer,

You requested that we alert you when the ACTUAL Cost associated with your tl-fif-dev budget is \
greater than $23.00 for the current month. The ACTUAL Cost associated with this budget is $23.07.

Budget Name: tl-fif-dev
Budget Type: Cost
Budgeted Amount: $23.00
Alert Type: ACTUAL
Alert Threshold: > $23.00
ACTUAL Amount: $23.07
"""
SUBJECT = "AWS Budgets: tl-fif-dev has exceeded your alert threshold"


def message(subject: str = SUBJECT, text: str = TEXT, at: str = "") -> dict[str, Any]:
    """SNS's event of one message, sent just now unless `at` says when."""
    sent = at or datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = {"Type": "Notification", "Subject": subject, "Message": text, "Timestamp": sent}
    return {"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": told}]}


def alarm(state: str, reason: str = "23.4 >= 23.0", data: Any = None) -> dict[str, Any]:
    """What CloudWatch sends when an alarm changes to a state."""
    told = {"AlarmName": "spend", "NewStateValue": state, "NewStateReason": reason}
    told |= {"NewStateReasonData": data} if data else {}
    return message(f'{state}: "spend" in US East (N. Virginia)', json.dumps(told))


def latched_until(now: float) -> float:
    """How long Budgets' message latches: on the first of a month its figures may be the last's."""
    sure_at = months.begin(now) + UNSURE_S
    return sure_at if now < sure_at else months.end(now)


async def kill(world: World, event: dict[str, Any] | None = None) -> None:
    """One call of the killer, under its own role."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.credentials(KILLER_ROLE).items():
            patch.setenv(name, value)
        patch.setattr(boto3, "DEFAULT_SESSION", session())
        killer.services.cache_clear()
        _, *clients = killer.services()
    try:
        context = SimpleNamespace(aws_request_id=str(uuid.uuid4()))
        await asyncio.to_thread(killer.handler, event or message(), context)
    finally:
        for client in clients:
            client.close()
        killer.services.cache_clear()

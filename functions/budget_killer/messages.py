"""What a message on the stop topic says: that the budget is spent, or something else."""

import datetime
import json
from collections.abc import Mapping
from typing import Any, cast

from tlfif.money import months

# What Budgets says when a budget names the topic: nothing is spent by that.
VERIFIED = "SNS Topic Verified"
MAX_REASON = 200


def reason(record: Mapping[str, Any], now: float) -> str:
    """Why to stop, '' for a message that is no reason.

    Budgets writes prose, which may be worded otherwise some day: whatever is not known to be
    harmless stops. Harmless are the topic's verification, an alarm that does not ring (any more),
    and what SNS could not deliver before the month was over.
    """
    told: Mapping[str, Any] = record.get("Sns") or {}
    subject = str(told.get("Subject") or "")
    if subject.startswith(VERIFIED) or _is_of_another_month(told.get("Timestamp"), now):
        return ""
    alarm = _alarm(str(told.get("Message") or ""))
    if alarm is None:
        return (subject or "a message without a subject")[:MAX_REASON]
    if alarm["NewStateValue"] != "ALARM":
        return ""
    return f"{alarm.get('AlarmName')}: {alarm.get('NewStateReason')}"[:MAX_REASON]


def _alarm(text: str) -> dict[str, Any] | None:
    """CloudWatch's message; None for one that is not CloudWatch's."""
    try:
        found: object = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or "NewStateValue" not in found:
        return None
    return cast("dict[str, Any]", found)


def _is_of_another_month(timestamp: object, now: float) -> bool:
    try:
        sent = datetime.datetime.fromisoformat(str(timestamp).replace("Z", "+00:00"))
    except ValueError:
        return False
    return months.month(sent.timestamp()) != months.month(now)

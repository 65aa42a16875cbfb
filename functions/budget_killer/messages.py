"""What a message on the stop topic says: that the budget is spent, or something else."""

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from tlfif.money import months

# What Budgets says when a budget names the topic: nothing is spent by that.
VERIFIED = "SNS Topic Verified"
MAX_REASON = 200
# For so long into a month a figure may still be the last one's; by then the guardian has counted.
UNSURE_S = months.DAY_S
# Of which time the figures are by which an alarm rings: in data where there are some, else in its
# reason, as `[23.4 (01/12/26 00:15:00)]`.
IN_DATA = re.compile(r'"(?:timestamp|startDate)"\s*:\s*"([^"]+)"')
IN_REASON = re.compile(r"\((\d\d/\d\d/\d\d \d\d:\d\d:\d\d)\)")


class Reason(NamedTuple):
    """Why to stop, and until when to latch (epoch s)."""

    why: str
    until: float


def read(record: Mapping[str, Any], now: float) -> Reason | None:
    """Why to stop and for how long; None for a message that is no reason.

    Budgets writes prose, which may be worded otherwise some day: whatever is not known to be
    harmless stops. Harmless are the topic's verification, an alarm that does not ring (any more) or
    rings by the last month's figures, and what SNS could not deliver before the month was over.
    What does not say of which month its figures are latches no longer than these may be the last
    one's.
    """
    told: Mapping[str, Any] = record.get("Sns") or {}
    subject = str(told.get("Subject") or "")
    if subject.startswith(VERIFIED) or _is_of_another_month(told.get("Timestamp"), now):
        return None
    alarm = _alarm(str(told.get("Message") or ""))
    if alarm is None:
        return Reason((subject or "a message without a subject")[:MAX_REASON], _unsure(now))
    measured = _measured_at(alarm)
    is_old = measured is not None and months.month(measured) != months.month(now)
    if alarm["NewStateValue"] != "ALARM" or is_old:
        return None
    why = f"{alarm.get('AlarmName')}: {alarm.get('NewStateReason')}"[:MAX_REASON]
    return Reason(why, _unsure(now) if measured is None else months.end(now))


def _unsure(now: float) -> float:
    sure_at = months.begin(now) + UNSURE_S
    return sure_at if now < sure_at else months.end(now)


def _alarm(text: str) -> dict[str, Any] | None:
    """CloudWatch's message; None for one that is not CloudWatch's."""
    try:
        found: object = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict) or "NewStateValue" not in found:
        return None
    return cast("dict[str, Any]", found)


def _measured_at(alarm: Mapping[str, Any]) -> float | None:
    """When the last period began by whose figures the alarm changed; None where it does not say."""
    data = alarm.get("NewStateReasonData") or ""
    text = data if isinstance(data, str) else json.dumps(data)
    try:
        times = [months.parsed(each) for each in IN_DATA.findall(text)]
        for each in [] if times else IN_REASON.findall(str(alarm.get("NewStateReason"))):
            at = datetime.datetime.strptime(each, "%d/%m/%y %H:%M:%S")
            times.append(at.replace(tzinfo=months.UTC).timestamp())
    except ValueError:
        return None
    return max(times, default=None)


def _is_of_another_month(timestamp: object, now: float) -> bool:
    try:
        sent = months.parsed(str(timestamp))
    except ValueError:
        return False
    return months.month(sent) != months.month(now)

"""Hears from the metadata service (IMDS v2) that EC2 takes this spot instance back."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

import httpx

from tlfif.log import log
from watcher.instance import TOKEN, WANT_TOKEN
from worker.tasks import poll

# AWS's advice. In minutes, as what follows, because the local cloud's are shorter.
EVERY_MIN = 5 / 60
# EC2 gives two minutes. Jobs have this long to end here; the last of it belongs to handing back
# what has not ended, and to a machine that shuts down.
GRACE_MIN, SPARE_MIN = 1.25, 0.5
_TIMEOUT_S, _NONE = 2.0, 404


@dataclass(frozen=True)
class Notice:
    """What EC2 is going to do (`stop`, `terminate`), and when, in epoch s by its clock."""

    action: str
    at: float

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.at, timezone.utc)
        return f"{self.action} at {at:%H:%M:%S} UTC"


def parse(text: str) -> Notice:
    """The notice in `spot/instance-action`. Raises ValueError for what is none."""
    try:
        told = json.loads(text)
        at = datetime.fromisoformat(str(told["time"]).replace("Z", "+00:00"))
        return Notice(str(told["action"]), at.timestamp())
    except (TypeError, KeyError) as error:
        raise ValueError(f"no notice: {text[:100]!r}") from error


class Notices:
    """Asks for a notice again and again, until there is one: `notice`, None before.

    A recommendation to rebalance is not asked for. It may come hours before a notice or without
    one, and there is nobody to hand over to: the next node takes a boot to come.
    """

    def __init__(self, endpoint: str, seconds_per_minute: float, now: Callable[[], float]):
        """`endpoint` is the metadata service's, '' where no notice can come; `now` is in epoch s
        by EC2's clock.
        """
        self.notice: Notice | None = None
        self._endpoint, self._minute_s, self._now = endpoint, seconds_per_minute, now
        self._failure = ""

    async def run(self) -> None:
        """Goes on until cancelled."""
        if self._endpoint:
            transport = httpx.AsyncHTTPTransport()
            async with httpx.AsyncClient(
                transport=transport, timeout=_TIMEOUT_S, trust_env=False
            ) as client:
                await poll(EVERY_MIN * self._minute_s, lambda: self._ask(client))
        await asyncio.Event().wait()

    def grace_s(self) -> float:
        """How long jobs may go on from now, after a notice."""
        if self.notice is None:
            return 0.0
        left_s = self.notice.at - self._now() - SPARE_MIN * self._minute_s
        return min(GRACE_MIN * self._minute_s, max(0.0, left_s))

    async def _ask(self, client: httpx.AsyncClient) -> Notice | None:
        try:
            asked = await client.put(f"{self._endpoint}/latest/api/token", headers=WANT_TOKEN)
            answer = await client.get(
                f"{self._endpoint}/latest/meta-data/spot/instance-action",
                headers={TOKEN: asked.raise_for_status().text},
            )
            if answer.status_code != _NONE:
                self.notice = parse(answer.raise_for_status().text)
            failure = ""
        except (httpx.HTTPError, ValueError) as error:
            failure = str(error) or type(error).__name__
        if failure and not self._failure:
            log("notices_unknown", "WARNING", why=failure)
        self._failure = failure
        return self.notice

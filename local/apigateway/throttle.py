"""Throttling: a token bucket for each method, and one for each key of a usage plan."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from local.apigateway.call import ApiCall
from local.apigateway.model import GatewayError, Method, Plan


class Throttle:
    """Admits calls; `settings` maps `resource/METHOD` or `*/*` to (requests per second, burst)."""

    def __init__(self, settings: Mapping[str, tuple[float, int]]) -> None:
        self.settings = dict(settings)
        self._buckets: dict[str, _Bucket | None] = {}

    def change(self, path: str, rate: float, burst: int) -> None:
        """Sets the limits of `resource/METHOD` or `*/*`; its buckets are full again."""
        self.settings[path] = rate, burst
        self._buckets.clear()

    def admit(self, method: Method) -> None:
        """Each method has a bucket of its own, with the stage's settings when it has none.

        Raises GatewayError when it is empty.
        """
        key = f"{method.resource.strip('/')}/{method.http_method}"
        if key not in self._buckets:
            settings = self.settings.get(key) or self.settings.get("*/*")
            self._buckets[key] = _Bucket(*settings) if settings else None
        bucket = self._buckets[key]
        if bucket and not bucket.take():
            raise GatewayError("THROTTLED")


class Plans:
    """Admits callers by their API keys; `plans` has the plan of each key's value."""

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        self._plans = plans
        self._buckets: dict[str, _Bucket] = {}
        self._day = ""
        self._used: dict[str, int] = {}

    def admit(self, call: ApiCall, method: Method) -> None:
        """One key's routes share what its plan allows. Raises GatewayError."""
        if not method.needs_key:
            return
        plan = self._plans.get(call.api_key)
        if plan is None:
            raise GatewayError("INVALID_API_KEY", reason="the authorizer named no key of a plan")
        if plan.throttle is not None:
            bucket = self._buckets.setdefault(call.api_key, _Bucket(*plan.throttle))
            if not bucket.take():
                raise GatewayError("THROTTLED", reason="the caller's own limit")
        self._count(call.api_key, plan)

    def _count(self, key: str, plan: Plan) -> None:
        if today() != self._day:
            self._day, self._used = today(), {}
        used = self._used.get(key, 0)
        if plan.per_day is not None and used >= plan.per_day:
            raise GatewayError("QUOTA_EXCEEDED")
        self._used[key] = used + 1


def today() -> str:
    """The day of quotas."""
    return datetime.now(UTC).date().isoformat()


class _Bucket:
    """A token bucket: `rate` per second, at most `burst` at once."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst, self._level, self._at = rate, burst, float(burst), time.monotonic()

    def take(self) -> bool:
        """Whether there was a token."""
        now = time.monotonic()
        self._level, self._at = min(self._burst, self._level + (now - self._at) * self._rate), now
        if self._level < 1:
            return False
        self._level -= 1
        return True

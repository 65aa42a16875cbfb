"""Throttling: a token bucket for each method."""

import time
from collections.abc import Mapping

from local.apigateway.model import GatewayError, Method


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

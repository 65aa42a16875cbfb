"""The smoke test's own posts: the same prompt with the same key again and again, which makes no
second job, and has the router warm and traced.
"""

import secrets
import time
import uuid
from typing import Any

import httpx

from tools.stage import StageError

# So many answers of 5xx in a row, and nobody need wait for the reply (CI-005).
MAX_SERVER_ERRORS = 3
# What a router answers that is in order: no money, no nodes to be had, too many prompts.
NOT_ITS_FAULT = frozenset(
    {
        "backlog_full",
        "budget_exhausted",
        "lane_unavailable",
        "no_capacity",
        "no_node",
        "nodes_broken",
        "rate_limited",
    }
)
TIMEOUT_S = 15.0


class Posting:
    """`posts` says of each post when it was made, in s after the first of all, the status of its
    answer (0: none), how long that took in ms, and its X-Ray trace.
    """

    def __init__(self, api_url: str, token: str, prompt: str, *, every_s: float) -> None:
        self.key = str(uuid.uuid4())
        self.posts: list[dict[str, Any]] = []
        self._url = f"{api_url.rstrip('/')}/infer"
        self._token, self._prompt, self._every_s = token, prompt, every_s
        self._began = time.monotonic()
        self._errors = 0

    def again_if_due(self, waited_s: float) -> None:
        """Posts where it is time to, `waited_s` after the client's own first post.

        Raises StageError at the third 5xx in a row.
        """
        if waited_s >= self._every_s * (len(self.posts) + 1):
            self._post()

    def until(self, count: int) -> None:
        """Posts until there were so many. Raises StageError as `again_if_due`."""
        while len(self.posts) < count:
            due = self._began + self._every_s * (len(self.posts) + 1)
            time.sleep(max(0.0, due - time.monotonic()))
            self._post()

    def _post(self) -> None:
        trace = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
        headers = {
            "Authorization": self._token,
            "Idempotency-Key": self.key,
            # Sampled, whatever X-Ray's rule would have chosen.
            "X-Amzn-Trace-Id": f"Root={trace};Sampled=1",
        }
        began = time.monotonic()
        try:
            answer = httpx.post(
                self._url, json={"prompt": self._prompt}, headers=headers, timeout=TIMEOUT_S
            )
            status, code = answer.status_code, _code(answer)
        except httpx.TransportError:
            status, code = 0, ""
        took_ms = round((time.monotonic() - began) * 1000)
        at_s = round(began - self._began, 1)
        self.posts.append({"at_s": at_s, "status": status, "ms": took_ms, "trace": trace})
        bad = (status == 0 or status >= 500) and code not in NOT_ITS_FAULT
        self._errors = self._errors + 1 if bad else 0
        if self._errors >= MAX_SERVER_ERRORS:
            said = ", ".join(str(each["status"]) for each in self.posts[-MAX_SERVER_ERRORS:])
            raise StageError(f"{MAX_SERVER_ERRORS} server errors in a row ({said}; 0: no answer)")


def _code(answer: httpx.Response) -> str:
    """Which error the API says it is; empty where it says none."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    return str(body.get("error", "")) if isinstance(body, dict) else ""

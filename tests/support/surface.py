"""The running API as the fuzzers use it: what must hold after any request, counted."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
import redis
import requests
from support.clouds import pool_of, running

from local.aws.ec2 import Delays
from local.cloud import LocalCloud, Options
from tlfif import names

VPC_ONLY = ("/ping", "/queue-health")
ORIGINS = (None, "http://localhost:3000", "https://evil.example")
# Above this many waiting jobs the queue is emptied: the backlog cap has tests of its own.
FULL = 300

LINK_HEADERS = ("Location", "Content-Location", "Link")
LINK = re.compile(r"(https?:/)?/\S+")

Answer = requests.Response | httpx.Response


class Surface:
    """A local cloud whose node never gets up; every request is somebody else's, so that no limit is
    met.
    """

    def __init__(self, cloud: LocalCloud, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.cloud, self.run = cloud, run
        self.queue: redis.Redis = cloud.valkey.operator(decode_responses=True)
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.hooks["response"].append(lambda answer, **_: self._sent.append(answer))
        self.forgeries: list[int] = []
        self.statuses: Counter[int] = Counter()
        self.links = self.server_errors = self.injected_errors = self.violations = 0
        self._accepted: set[str] = set()
        self._sent: list[Answer] = []
        self.users = pool_of(cloud)
        self._numbers = itertools.count()
        self._origins = itertools.cycle(ORIGINS)

    def base_url(self, path: str) -> str:
        return self.cloud.vpc_url if path in VPC_ONLY else self.cloud.api_url

    def new_user(self) -> str:
        return f"fuzz-{next(self._numbers)}-user"

    def headers(self, sub: str) -> dict[str, str]:
        """Somebody's token and, in turn, no origin, one that may read the answer, and one that may
        not.
        """
        origin = next(self._origins)
        return {
            "Authorization": self.users.token(sub=sub),
            **({"Origin": origin} if origin else {}),
        }

    def raw(self, method: str, path: str, sub: str) -> httpx.Response:
        """A request whose path no client has tidied."""
        target = f"{httpx.URL(self.cloud.api_url).path}{path}".encode()
        with httpx.Client(trust_env=False) as client:
            request = client.build_request(method, self.cloud.api_url, headers=self.headers(sub))
            request.extensions["target"] = target
            answer = client.send(request)
        self._sent.append(answer)
        return answer

    @contextmanager
    def watched(
        self, sub: str, *, node: bool = True, errors: Collection[int] = ()
    ) -> Iterator[None]:
        """Judges every answer within the block; `errors` are the server errors that an injected
        fault may cause.

        With a `node` jobs are queued and EC2 is not asked; without, they are `starting` and a node
        is woken.

        Each job in the queue is one that an answer has named, and a user who was refused has left
        nothing there.
        """
        if self.queue.xlen(names.STREAM) > FULL:
            self.queue.flushall()
        self._node(ready=node)
        jobs, own = set(self.queue.keys("job:*")), set(self.queue.keys(f"*{sub}*"))
        self._sent.clear()
        yield
        accepted = {job for answer in self._sent if (job := self._judge(answer, errors))}
        new = {key.removeprefix("job:") for key in set(self.queue.keys("job:*")) - jobs}
        assert new == accepted, f"accepted {accepted}, in the queue {new}"
        assert not accepted & self._accepted, "an id was given twice"
        assert accepted <= {
            fields["id"]
            for _, fields in self.queue.xrevrange(names.STREAM, count=len(accepted) or 1)
        }
        assert accepted or set(self.queue.keys(f"*{sub}*")) <= own, (
            "who was refused has left something"
        )
        self._accepted |= accepted

    @contextmanager
    def documented(self) -> Iterator[None]:
        """Counts what is found against the documentation within the block."""
        try:
            yield
        except Exception:
            self.violations += 1
            raise

    def _node(self, *, ready: bool) -> None:
        self.queue.delete(names.NODES, names.node_key("i-fuzz"), names.WAKE)
        if ready:
            self.queue.hset(
                names.node_key("i-fuzz"),
                mapping={"phase": "ready", "boot": "1", "in_flight": 0, "timings": "{}"},
            )
            self.queue.zadd(names.NODES, {"i-fuzz": 1})

    def _judge(self, answer: Answer, errors: Collection[int]) -> str | None:
        """What holds for every answer; the id of the job it has accepted, if any."""
        request, status = answer.request, answer.status_code
        shown = f"{request.method} {request.url}: {status} {answer.text[:300]}"
        self.statuses[status] += 1
        if status == 503 and "(ReadTimeoutError)" in answer.text:
            # On a busy machine moto may take longer than the router waits for S3, and this is said.
            errors = {*errors, 503}
        self.injected_errors += status in errors
        self.server_errors += status >= 500 and status not in errors
        assert status < 500 or status in errors, shown
        origin, named = (
            request.headers.get("Origin"),
            answer.headers.get("Access-Control-Allow-Origin"),
        )
        assert named is None or (named == origin and names.LOCALHOST_ORIGIN.fullmatch(named)), shown
        if status >= 400:
            problem(answer)
        for link in links(answer):
            self._follow(answer, link, errors)
        if (request.method, status, str(request.url).endswith("/infer")) != ("POST", 202, True):
            return None
        job = answer.json()["id"]
        assert re.fullmatch(names.UUID4, job), shown
        assert answer.headers["X-Request-Id"] == job, shown
        assert answer.headers["Location"].endswith(job), shown
        assert 0 < self.queue.ttl(names.job_key(job)) <= names.JOB_TTL_S, shown
        return job

    def _follow(self, answer: Answer, link: str, errors: Collection[int]) -> None:
        """Every link leads, as given, to what the same user may see: a reply, or none yet."""
        target = urljoin(str(answer.request.url), link)
        headers = {"Authorization": answer.request.headers["Authorization"]}
        found = httpx.get(target, headers=headers, trust_env=False)
        self.links += 1
        no_reply_yet = found.json().get("message", "").startswith("There is no reply")
        aws_fails = bool(errors) and found.status_code >= 500
        assert found.status_code == 200 or no_reply_yet or aws_fails, (
            f"{answer.request.method} {answer.request.url} names {link!r}, which answers "
            f"{found.status_code} {found.text[:200]}"
        )

    def count_forgeries(self, statuses: Iterable[int]) -> None:
        """What forged tokens were answered with."""
        self.forgeries += statuses

    def summary(self) -> str:
        """One line of figures."""
        kinds = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        let_in = sum(status < 400 for status in self.forgeries)
        return (
            f"{self.statuses.total()} requests, {self.server_errors} server errors "
            f"(and {self.injected_errors} for injected faults), "
            f"{self.violations} schema violations; {kinds}; {self.links} links followed; "
            f"{len(self._accepted)} jobs accepted; "
            f"{len(self.forgeries)} forged tokens, {let_in} accepted"
        )


def problem(answer: Answer) -> dict[str, Any]:
    """The body of a refusal, after making sure that it is one."""
    body = json.loads(answer.content)
    assert answer.headers["Content-Type"] == "application/json", answer.headers
    assert {type(body.get("error")), type(body.get("message"))} == {str}, body
    return body


def links(answer: Answer) -> list[str]:
    """Every URL that an answer gives its caller to follow, in its headers or its body."""
    named = [answer.headers[name] for name in LINK_HEADERS if name in answer.headers]
    return named + [text for text in _texts(_document(answer)) if LINK.fullmatch(text)]


def _document(answer: Answer) -> Any:
    try:
        return json.loads(answer.content)
    except ValueError:
        return None


def _texts(document: Any) -> Iterator[str]:
    parts = document.values() if isinstance(document, dict) else document
    if isinstance(document, str):
        yield document
    elif isinstance(document, (dict, list)):
        for part in parts:
            yield from _texts(part)


@contextmanager
def open_surface() -> Iterator[Surface]:
    """A cloud without the API's own throttles: one user sends all."""
    # A minute lasts an hour: the guardian would start a node for the jobs that lie here.
    options = Options(delays=Delays(pending_s=1e6), seconds_per_minute=3600, workers=1)
    with ExitStack() as stack:
        # Only while the program is evaluated: other tests evaluate it as it is.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(names, "CALLER_THROTTLE", (100_000.0, 100_000))
            patch.setattr(names, "CALLER_REQUESTS_PER_DAY", 10_000_000)
            patch.setattr(names, "THROTTLES", {"*/*": (100_000.0, 100_000)})
            cloud, run = stack.enter_context(running(options))
        surface = Surface(cloud, run)
        yield surface
        surface.http.close()
        surface.queue.close()

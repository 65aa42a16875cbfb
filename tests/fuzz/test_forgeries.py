"""Forged tokens and the running system: through the gateway with its authorizer, and past both
(API-002, LAM-002).
"""

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from support.forgeries import SUB, forged, mutations, private_key
from support.surface import Surface, problem

from local.aws.faults import Fault
from tlfif import names

pytestmark = pytest.mark.integration

MUTATIONS = 500
# What no header line can carry. Around a value there may be space, which is not part of it.
UNSENDABLE = ("\0", "\n", "\udcff")


@pytest.fixture(scope="module")
def good(surface: Surface) -> str:
    return surface.users.token()


@pytest.fixture(scope="module")
def attempts(surface: Surface, good: str) -> dict[str, str]:
    """What is wrong with it, and what the Authorization header says."""
    tokens = forged(surface.users, good)
    tokens |= {
        f"mutation {n}": token
        for n, token in enumerate(itertools.islice(mutations(good), MUTATIONS))
    }
    schemes = {
        "another scheme": f"Basic {good}",
        "two tokens": f"{good} {good}",
        "a list": f"{good},{good}",
    }
    return {name: token for name, token in {**tokens, **schemes}.items() if token.strip() != good}


@pytest.fixture(scope="module")
def http(surface: Surface) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=surface.cloud.api_url, trust_env=False) as client:
        yield client


def authorization(token: str) -> dict[bytes, bytes]:
    return {b"Authorization": token.encode("utf-8", "surrogateescape")}


@pytest.mark.story("API-002")
def test_no_forged_token_gets_past_the_edge(
    surface: Surface, http: httpx.Client, good: str, attempts: dict[str, str]
) -> None:
    assert http.get("/status", headers=authorization(good)).status_code == 200, (
        "an unforged one is let in"
    )
    invoked = surface.cloud.function("router").name
    before = [name for name, _ in surface.cloud.logs].count(invoked)
    sent = {
        name: token
        for name, token in attempts.items()
        if not any(each in token for each in UNSENDABLE)
    }
    answers = {
        name: http.get("/status", headers=authorization(token)) for name, token in sent.items()
    }
    # No token at all, and more of them than API Gateway reads, are refused before anybody judges
    # them.
    surface.count_forgeries(answer.status_code for answer in answers.values())
    expected = dict.fromkeys(answers, 403) | {"empty": 401, "100 kB": 431}
    assert {name: answer.status_code for name, answer in answers.items()} == expected
    assert all(problem(answer) for answer in answers.values() if answer.status_code != 431)
    assert [name for name, _ in surface.cloud.logs].count(invoked) == before


@pytest.fixture(scope="module")
def invoke(surface: Surface) -> Any:
    """Lambda's Invoke API, as somebody with the right to call the router uses it."""
    key, secret = surface.cloud.endpoint.operator
    client = boto3.client(
        "lambda", "us-east-1", aws_access_key_id=key, aws_secret_access_key=secret,
        endpoint_url=surface.cloud.endpoint.url,
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )  # fmt: skip

    def invoke(source: str, event: dict[str, Any]) -> tuple[str | None, Any]:
        """The error, if the function failed, and what it answered."""
        name = surface.cloud.function(source).name
        # Callers reach the router by its alias.
        called = f"{name}:{names.ALIAS}" if source == "router" else name
        answer = client.invoke(FunctionName=called, Payload=json.dumps(event).encode())
        return answer.get("FunctionError"), json.load(answer["Payload"])

    return invoke


@pytest.mark.story("LAM-002")
def test_no_forged_token_gets_past_the_router(
    surface: Surface, invoke: Any, good: str, attempts: dict[str, str]
) -> None:
    def call(token: str) -> Any:
        event = {
            "resource": "/infer",
            "httpMethod": "POST",
            "headers": {"Authorization": token},
            "body": BODY,
        }
        error, answer = invoke("router", event)
        assert error is None, answer
        return answer["statusCode"]

    before = surface.queue.keys("*")
    answers = {name: call(token) for name, token in attempts.items()}
    surface.count_forgeries(answers.values())
    assert answers == dict.fromkeys(attempts, 401)
    assert surface.queue.keys("*") == before, "and nobody's job is in the queue"


BODY = json.dumps({"prompt": "Hello"})


@pytest.mark.story("LAM-002")
def test_claims_that_the_caller_brings_along_count_for_nothing(
    surface: Surface, invoke: Any
) -> None:
    context = {"authorizer": {"sub": SUB, "principalId": SUB, "claims": {"sub": SUB}}}
    event = {
        "resource": "/infer",
        "httpMethod": "POST",
        "headers": {},
        "body": BODY,
        "requestContext": context,
    }
    error, answer = invoke("router", event)
    assert (error, answer["statusCode"]) == (None, 401)


HOUR = int(time.time()) + 3600
JUDGED = [(None, HOUR), (None, 1), (private_key(), HOUR)]


@pytest.mark.story("API-002")
def test_while_the_pools_keys_cannot_be_had_it_is_a_503_and_nobody_is_let_in(
    surface: Surface, http: httpx.Client, invoke: Any
) -> None:
    down = Fault("cognito-idp", "GetJwks", status=500, code="InternalErrorException", times=None)
    with surface.cloud.endpoint.faults.injected(down):
        for host in surface.cloud.hosts.values():
            surface.run(host.recycle())
        # None that the gateway remembers from the tests before.
        sub = surface.new_user()
        tokens = [surface.users.token(key, sub=sub, exp=exp) for key, exp in JUDGED]
        for token in tokens:
            answer = http.post("/infer", headers=authorization(token), json={"prompt": "Hello"})
            assert (answer.status_code, problem(answer)["error"]) == (503, "authorizer_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
            event = {
                "resource": "/status",
                "httpMethod": "GET",
                "headers": {"Authorization": token},
            }
            error, answer = invoke("router", event)
            assert (error, answer["statusCode"]) == (None, 503)
            assert int(answer["headers"]["Retry-After"]) > 0
    assert http.get("/status", headers=authorization(tokens[0])).status_code == 200, (
        "it recovers at once"
    )

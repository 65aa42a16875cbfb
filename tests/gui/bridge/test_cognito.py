"""The bridge's session: signed in once, renewed before a token expires and when the API refuses it,
and silent about its secrets.
"""

import asyncio
import json
from types import SimpleNamespace

import httpx
import pytest
from support.scripted_stack import CLIENT_ID, COGNITO, PASSWORD, URL, USER, ScriptedStack

from gui.bridge.errors import ApiError, SignInError
from gui.bridge.stack import cognito
from gui.bridge.stack.api import Api
from gui.bridge.stack.cognito import SignIn

FIRST, AGAIN = "USER_PASSWORD_AUTH", "REFRESH_TOKEN_AUTH"


class Clock(SimpleNamespace):
    """Stands still until it is moved."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cognito, "time", clock)
    return clock


def session(http: httpx.AsyncClient, password: str = PASSWORD) -> SignIn:
    return SignIn(http, COGNITO, CLIENT_ID, USER, password)


async def test_a_token_is_kept_until_five_minutes_before_its_end(
    stack: ScriptedStack, clock: Clock
) -> None:
    async with stack.client() as http:
        sign_in = session(http)
        first = await asyncio.gather(*(sign_in.token() for _ in range(10)))
        clock.now += 3299
        assert {*first, await sign_in.token()} == {"token-1"}
        clock.now += 2
        assert await sign_in.token() == "token-2"
        clock.now += 3301
        await sign_in.token()
    assert stack.flows == [FIRST, AGAIN, AGAIN]


async def test_a_refresh_token_that_is_no_good_any_more_leaves_the_password(
    stack: ScriptedStack, clock: Clock
) -> None:
    async with stack.client() as http:
        sign_in = session(http)
        await sign_in.token()
        stack.refresh_tokens.clear()
        clock.now += 4000
        assert await sign_in.token() == "token-3"
    assert stack.flows == [FIRST, AGAIN, FIRST]


async def test_a_token_that_the_api_refuses_is_renewed_once_for_all_who_ask(
    stack: ScriptedStack, clock: Clock
) -> None:
    async with stack.client() as http:
        api = Api(http, URL, session(http))
        await api.status()
        clock.now += 60
        stack.tokens.clear()
        await asyncio.gather(*(api.status() for _ in range(10)))
        assert stack.flows == [FIRST, AGAIN]
        # One that is new is not at fault.
        stack.tokens.clear()
        with pytest.raises(ApiError, match="403"):
            await api.status()
    assert stack.flows == [FIRST, AGAIN]


async def test_while_cognito_is_away_a_token_is_used_to_its_end(
    stack: ScriptedStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stack.client() as http:
        sign_in = session(http)
        await sign_in.token()

        async def away(*_: object, **__: object) -> httpx.Response:
            raise httpx.ConnectError(f"secret {PASSWORD}")

        monkeypatch.setattr(http, "post", away)
        clock.now += 3500
        assert await sign_in.token() == "token-1"
        clock.now += 100
        with pytest.raises(SignInError, match=r"cannot be reached \(ConnectError\)$") as caught:
            await sign_in.token()
    assert caught.value.passes
    assert PASSWORD not in str(caught.value)


async def test_a_renewal_that_fails_is_tried_anew_after_a_pause_and_keeps_nobody_waiting(
    stack: ScriptedStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stack.client() as http:
        sign_in = session(http)
        await sign_in.token()
        asked, gives_up = [], asyncio.Event()

        async def slow(*_: object, **__: object) -> httpx.Response:
            asked.append(clock.now)
            await gives_up.wait()
            raise httpx.ReadTimeout("")

        monkeypatch.setattr(http, "post", slow)
        clock.now += 3500
        first = asyncio.create_task(sign_in.token())
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            assert await asyncio.gather(*(sign_in.token() for _ in range(9))) == ["token-1"] * 9
        gives_up.set()
        assert await first == "token-1"
        for _ in range(20):
            clock.now += 1
            await sign_in.token()
    assert asked == [4500, 4510, 4520]


@pytest.mark.parametrize(
    ("status", "answer", "says", "passes"),
    [
        (400, {"__type": "NotAuthorizedException", "message": "Incorrect"}, "Incorrect", False),
        (400, {"__type": "a#TooManyRequestsException", "message": "Slow"}, "Slow", True),
        (500, "<html>", "HTTP 500", True),
        (200, {"ChallengeName": "NEW_PASSWORD_REQUIRED"}, "permanent password", False),
        (200, {"AuthenticationResult": {}}, "gave no token", False),
        (200, [], "HTTP 200", False),
        (
            200,
            {"AuthenticationResult": {"AccessToken": "a\r\nb", "ExpiresIn": 3600}},
            "what is no token",
            False,
        ),
    ],
)
async def test_what_keeps_a_user_out_is_one_line(
    status: int, answer: object, says: str, passes: bool
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text=json.dumps(answer)))
    async with httpx.AsyncClient(transport=transport) as http:
        with pytest.raises(SignInError) as caught:
            await session(http).token()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.passes is passes

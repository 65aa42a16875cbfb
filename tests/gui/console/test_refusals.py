"""What the console says when the API refuses, and what it does about it by itself."""

import re

import pytest
from playwright.async_api import expect
from support.console.api import Api
from support.console.cognito import Cognito, Person
from support.console.screen import Screen

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

FOR_GOOD = [
    (503, "no_capacity", "No GPU is to be had"),
    (503, "lane_unavailable", "Nobody is there to answer"),
    (503, "nodes_broken", "have failed to start"),
    (503, "no_node", "image is not baked"),
    (429, "quota_exceeded", "a whole day"),
    (413, "too_large", "too much"),
    (418, "teapot", "Something unforeseen"),
]
PASSING = [
    (429, "throttled", "Too many requests"),
    (503, "queue_unavailable", "The queue does not respond"),
    (503, "backlog_full", "As many questions wait"),
    (503, "authorizer_unavailable", "Sign-ins cannot be checked"),
    (503, "unavailable", "failed for a moment"),
    (504, "timeout", "No answer came in time"),
    (500, "internal", "the fault is ours"),
]


async def test_429_waits_and_asks_again_by_itself(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    api.refuse(429, "rate_limited", retry_after=45)
    await screen.ask("One more.")
    await api.until(lambda: len(api.posts()) == 1)
    await expect(screen.article("One more.")).to_contain_text(re.compile(r"Sent again in 4\d s"))
    assert api.jobs == []
    await screen.forward(46)
    job = await api.job()
    assert job.prompt == "One more."
    job.end("Here you are.")
    await expect(screen.article("One more.")).to_contain_text("Here you are.")
    assert len(api.posts()) == 2


async def test_402_says_when_it_lifts(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    api.refuse(402, "budget_exhausted", until="2026-12-01T00:00:00Z", reason="the cap is reached")
    await screen.ask("Is there money?")
    await expect(screen.alert).to_contain_text(re.compile("budget|money", re.IGNORECASE))
    await expect(screen.alert).to_contain_text(re.compile(r"1 Dec|Dec(ember)? 1\b|2026-12-01"))
    await _can_ask_again(screen, api)


async def test_what_only_people_can_mend_is_said_and_not_sent_again(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    for status, code, says in FOR_GOOD:
        posts = len(api.posts())
        api.refuse(status, code, retry_after=30 if status == 503 else 0)
        await screen.ask(f"What of {code}?")
        await expect(screen.alert).to_contain_text(says)
        await screen.forward(90)
        assert len(api.posts()) == posts + 1, code
    await _can_ask_again(screen, api)


async def test_what_passes_is_sent_again_by_itself_and_is_one_job(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    for number, (status, code, says) in enumerate(PASSING, 1):
        posts = len(api.posts())
        for _ in range(2):
            api.refuse(status, code, retry_after=20 if status in (429, 503) else 0)
        prompt = f"What of {code}?"
        await screen.ask(prompt)
        for tries in (1, 2):
            await api.until(lambda most=posts + tries: len(api.posts()) == most)
            await expect(screen.article(prompt)).to_contain_text(says)
            await screen.forward(31)
        (await api.job(number)).end(f"Answer {number}.")
        await expect(screen.article(prompt)).to_contain_text(f"Answer {number}.")
        assert len({each.headers["idempotency-key"] for each in api.posts()[posts:]}) == 1


async def _can_ask_again(screen: Screen, api: Api) -> None:
    await screen.ask("And now?")
    (await api.job()).end("Now, yes.")
    await expect(screen.article("And now?")).to_contain_text("Now, yes.")


async def test_400_speaks_of_the_field(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    told = {"field": "idle_minutes", "value": "99"}
    api.refuse(400, "invalid_request", **told)
    await screen.ask("Hello?")
    await expect(screen.alert).to_contain_text(re.compile("idle.minutes", re.IGNORECASE))


# --- 401 and 403 come without CORS: the page sees a network that fails


async def test_an_expired_token_is_renewed_without_a_word(
    screen: Screen, api: Api, cognito: Cognito, ada: Person
) -> None:
    cognito.token_s = 600
    await screen.signed_in(ada)
    cognito.token_s = 3600
    await screen.forward(590)
    await screen.ask("Still here?")
    (await api.job()).end("Yes.")
    await expect(screen.article("Still here?")).to_contain_text("Yes.")
    assert cognito.count("InitiateAuth") + cognito.count("GetTokensFromRefreshToken") >= 2
    await expect(screen.alert).to_have_count(0)


async def test_who_may_not_be_renewed_signs_in_again_and_finds_the_history(
    screen: Screen, api: Api, cognito: Cognito, ada: Person
) -> None:
    await screen.signed_in(ada)
    await screen.ask("Remember me.")
    (await api.job()).end("I do.")
    await expect(screen.article("Remember me.")).to_contain_text("I do.")
    for operation in ("InitiateAuth", "GetTokensFromRefreshToken"):
        cognito.refusals[operation] = ("NotAuthorizedException", "Refresh Token has expired")
    api.gateway = 403
    await screen.forward(3700)
    await expect(screen.page.get_by_role("form", name="Sign in")).to_be_visible()
    cognito.refusals.clear()
    api.gateway = None
    await screen.signed_in(ada)
    await expect(screen.article("Remember me.")).to_contain_text("I do.")


async def test_a_good_token_and_a_silent_api_is_the_networks_fault(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    api.away = True
    await screen.ask("Anybody?")
    await expect(screen.article("Anybody?")).to_contain_text("Nothing answers at")
    await expect(screen.page.get_by_role("form", name="Sign in")).to_be_hidden()


async def test_an_answer_goes_on_when_the_network_comes_back(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    await screen.ask("Slowly.")
    job = await api.job()
    job.say("Slow")
    await expect(screen.article("Slowly.")).to_contain_text("Slow")
    api.away = True
    await expect(screen.article("Slowly.")).to_contain_text("The answer is not lost")
    api.away = False
    job.end("Slow and steady.")
    await screen.forward(60)
    await expect(screen.article("Slowly.")).to_contain_text("Slow and steady.")

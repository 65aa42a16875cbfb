"""The console from a prompt to its answer: waking, streaming, cancelling, and what it costs."""

import re

import pytest
from playwright.async_api import expect
from support.console.api import Api
from support.console.cognito import Person
from support.console.screen import Screen

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


async def test_an_answer_is_seen_while_it_is_written_and_says_what_it_cost(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    await screen.ask("What is a GPU?")
    job = await api.job()
    assert job.prompt == "What is a GPU?"
    article = screen.article("What is a GPU?")
    for text in ("A GPU", "A GPU is many", "A GPU is many small processors."):
        job.say(text)
        await expect(article).to_contain_text(text)
    job.end("A GPU is many small processors, side by side.")
    await expect(article).to_contain_text("side by side.")
    await expect(article).to_contain_text(re.compile(r"€\s?0\.0004"))
    await expect(article).to_contain_text(re.compile(r"21\.5 tokens"))
    await expect(screen.button("Cancel")).to_have_count(0)


async def test_a_conversation_is_one_until_a_new_one_is_begun(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    for number, prompt in enumerate(("My name is Ada.", "What is my name?"), 1):
        await screen.ask(prompt)
        job = await api.job(number)
        job.end(f"Answer {number}.")
        await expect(screen.article(prompt)).to_contain_text(f"Answer {number}.")
    told = [(each["role"], each["content"]) for each in api.posts()[1].body["messages"]]
    assert told == [
        ("user", "My name is Ada."),
        ("assistant", "Answer 1."),
        ("user", "What is my name?"),
    ]
    await screen.button("New conversation").click()
    await screen.ask("Hello.")
    job = await api.job(3)
    body = api.posts()[2].body
    assert body.get("prompt", "Hello.") == "Hello."
    assert len(body.get("messages", [0])) == 1


async def test_while_a_node_wakes_its_phases_are_told_and_the_time_that_is_left(
    screen: Screen, api: Api, ada: Person
) -> None:
    api.status["estimate"] = 60.0
    await screen.signed_in(ada)
    api.accepted = {"status": "starting", "eta": 90, "estimate": 60.0}
    await screen.ask("Are you awake?")
    job = await api.job()
    for phase, words in (("starting", "started"), ("booting", "boots"), ("loading", "loads")):
        api.status["node"] = phase
        await screen.forward(3)
        await expect(screen.state).to_contain_text(words)
    before = await _seconds_left(screen)
    assert 25 <= before <= 60 - 9 + 2
    await screen.forward(20)
    await expect(screen.timer).not_to_contain_text(f" {before} s")
    assert before - 40 <= await _seconds_left(screen) <= before - 18
    api.status["node"] = "ready"
    await screen.forward(3)
    await expect(screen.state).to_contain_text("which is ready")
    await expect(screen.timer).to_be_hidden()
    job.say("Yes")
    await expect(screen.article("Are you awake?")).to_contain_text("Yes")
    await expect(screen.timer).to_be_hidden()
    job.end("Yes.")
    await screen.forward(3)
    await expect(screen.state).to_contain_text("is ready")


async def _seconds_left(screen: Screen) -> int:
    """What the page says how long it still takes."""
    told = await screen.timer.inner_text()
    found = re.search(r"(\d+) s\b", told)
    assert found, told
    return int(found[1])


async def test_it_says_which_lane_answers(screen: Screen, api: Api, ada: Person) -> None:
    lane = {"phase": "loading", "in_flight": 0, "estimate": 4.0, "seconds": 3.0, "eur": 0.001}
    api.status["lane"] = lane
    await screen.signed_in(ada)
    api.accepted = {"status": "starting", "eta": 90, "estimate": 4.0}
    await screen.ask("Quick?")
    job = await api.job()
    api.status["lane"] = {**lane, "phase": "working", "in_flight": 1}
    await expect(screen.state).to_contain_text(re.compile("instant lane", re.IGNORECASE))
    job.say("Quick", engine="llama.cpp-lambda")
    job.end("Quick.", engine="llama.cpp-lambda")
    answered = re.compile("instant lane|llama.cpp-lambda", re.IGNORECASE)
    await expect(screen.article("Quick?")).to_contain_text(answered)


async def test_an_answer_is_cancelled_in_the_middle(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    await screen.ask("Write a long story.")
    job = await api.job()
    job.say("Once upon a time")
    await expect(screen.article("long story")).to_contain_text("Once upon")
    await screen.button("Cancel").click()
    await api.until(lambda: job.cancelled)
    job.end("Once upon a time", "cancelled", reason="cancelled")
    await expect(screen.article("long story")).to_contain_text(re.compile("cancelled", re.I))
    await expect(screen.article("long story")).to_contain_text("Once upon a time")
    await expect(screen.button("Cancel")).to_have_count(0)


async def test_the_node_is_stopped(screen: Screen, api: Api, ada: Person) -> None:
    api.status["node"] = "ready"
    await screen.signed_in(ada)
    sure = screen.page.get_by_role("dialog", name="Stop the GPU node?")
    await screen.button("Stop the node").click()
    await sure.get_by_role("button", name="Let it run").click()
    await expect(sure).to_be_hidden()
    assert api.stops == 0
    await screen.button("Stop the node").click()
    await sure.get_by_role("button", name="Stop now").click()
    await api.until(lambda: api.stops == 1)
    await expect(screen.state).to_contain_text("Stopped")


async def test_idle_minutes_are_the_prompts_own(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    await screen.page.get_by_label("Idle minutes").fill("12")
    await screen.ask("Stay up.")
    await api.job()
    assert api.posts()[0].body["idle_minutes"] == 12


async def test_spend_cap_hours_node_and_queue_are_seen(
    screen: Screen, api: Api, ada: Person
) -> None:
    api.status |= {"queue_depth": 3, "node": "ready"}
    await screen.signed_in(ada)
    for told in (r"7\.25", r"\b20\b", r"11\.5", "ready", r"Queue depth\s*3\b"):
        await expect(screen.spend).to_contain_text(re.compile(told, re.IGNORECASE))


async def test_an_answer_that_ends_otherwise_says_why(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    for number, (status, told, says) in enumerate(
        (
            ("failed", {"error": "the engine is out of memory"}, "out of memory"),
            ("expired", {"reason": "nobody took it in time"}, "It expired"),
            ("cancelled", {"reason": "stopped"}, "the nodes were stopped"),
        ),
        1,
    ):
        await screen.ask(f"Number {number}?")
        (await api.job(number)).end("", status, **told)
        await expect(screen.article(f"Number {number}?")).to_contain_text(says)
        await expect(screen.button("Cancel")).to_have_count(0)


async def test_an_answer_that_was_cut_off_says_so(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    await screen.ask("Go on and on.")
    notice = "The answer was cut off at max_tokens = 256."
    (await api.job()).end("And on", finish_reason="length", notice=notice)
    await expect(screen.article("Go on")).to_contain_text(notice)

"""The console left in the middle of an answer, and come back to; and open twice."""

import pytest
from playwright.async_api import expect
from support.console.api import Api
from support.console.cognito import Person
from support.console.screen import Screen

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


async def test_an_answer_is_still_there_after_a_reload(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    await screen.ask("Tell me.")
    job = await api.job()
    job.say("It was")
    await expect(screen.article("Tell me.")).to_contain_text("It was")
    await screen.page.reload()
    job.say("It was a dark")
    await screen.signed_in(ada)
    await expect(screen.article("Tell me.")).to_contain_text("It was a dark")
    job.end("It was a dark night.")
    await expect(screen.article("Tell me.")).to_contain_text("It was a dark night.")
    assert len(api.posts()) == 1


async def test_an_answer_is_there_when_the_tab_was_closed(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    api.accepted = {"status": "starting", "eta": 90, "estimate": 60}
    await screen.ask("Tell me later.")
    job = await api.job()
    await expect(screen.articles).to_have_count(1)
    await screen.page.close()
    job.end("Now is later.")
    await screen.open()
    await screen.signed_in(ada)
    await expect(screen.article("Tell me later.")).to_contain_text("Now is later.")
    assert len(api.posts()) == 1


async def test_a_job_that_the_api_lost_is_told_as_expired(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    await screen.ask("Lost?")
    await api.job()
    api.ahead_s = 320
    await screen.forward(20)
    await expect(screen.article("Lost?")).to_contain_text("expired", ignore_case=True)


async def test_two_tabs_do_not_disturb_each_other(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    first = screen.page
    await screen.open()
    await screen.signed_in(ada)
    second = screen.page
    for number, (page, prompt) in enumerate(((first, "From one."), (second, "From two.")), 1):
        screen.page = page
        await screen.ask(prompt)
        (await api.job(number)).say(f"Answer {number}")
        await expect(screen.article(prompt)).to_contain_text(f"Answer {number}")
    for number, (page, prompt) in enumerate(((first, "From one."), (second, "From two.")), 1):
        screen.page = page
        api.jobs[number - 1].end(f"Answer {number}, whole.")
        await expect(screen.article(prompt)).to_contain_text(f"Answer {number}, whole.")
    assert len(api.posts()) == 2
    # Both are there for who comes back.
    await first.close()
    await second.reload()
    await screen.signed_in(ada)
    await expect(screen.article("From two.")).to_contain_text("Answer 2, whole.")
    await screen.button("From one.").click()
    await expect(screen.article("From one.")).to_contain_text("Answer 1, whole.")


async def test_signing_out_in_one_tab_leaves_the_other_its_answer(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    await screen.ask("Go on.")
    job = await api.job()
    job.say("Going")
    await expect(screen.article("Go on.")).to_contain_text("Going")
    first = screen.page
    await screen.open()
    await screen.signed_in(ada)
    await screen.sign_out()
    screen.page = first
    job.end("Going, gone.")
    await expect(screen.article("Go on.")).to_contain_text("Going, gone.")


async def test_a_history_that_was_tampered_with_does_no_harm(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.signed_in(ada)
    await screen.ask("Before.")
    (await api.job()).end("Good.")
    await expect(screen.article("Before.")).to_contain_text("Good.")
    for nonsense in ("{", "null", "[1, null, {}]", '{"entries": 7}', "[]", '"<img src=x>"'):
        await screen.page.evaluate(
            "text => { for (const key of Object.keys(localStorage)) localStorage[key] = text; }",
            nonsense,
        )
        await screen.page.reload()
        await screen.signed_in(ada)
    await screen.ask("After.")
    (await api.job(2)).end("Good again.")
    await expect(screen.article("After.")).to_contain_text("Good again.")


async def test_a_full_storage_is_no_reason_not_to_answer(
    screen: Screen, api: Api, ada: Person
) -> None:
    await screen.page.evaluate(
        "() => { for (let size = 1 << 20, count = 0; size > 0; count += 1)"
        " try { localStorage[`fill ${count}`] = 'x'.repeat(size); } catch { size >>= 1; } }"
    )
    await screen.signed_in(ada)
    await screen.ask("Room?")
    (await api.job()).end("Enough.")
    await expect(screen.article("Room?")).to_contain_text("Enough.")

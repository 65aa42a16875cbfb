"""The console's main states: axe finds nothing serious in any of them, light and dark, and none is
wider than a telephone. `make console-pictures` keeps them for docs/console.md.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import ViewportSize, expect
from support.console.api import Api, now_ms
from support.console.cognito import Person
from support.console.pictures import keep
from support.console.screen import Screen
from support.console.servers import Servers

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

MAX_BYTES = 100_000
PICTURES = os.environ.get("TLFIF_PICTURES")
WIDE: ViewportSize = {"width": 1000, "height": 760}
NARROW: ViewportSize = {"width": 360, "height": 720}
TOO_WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
MOVING = "() => document.getAnimations().filter(each => each.playState === 'running').length"
QUESTION = "What is a GPU, and why does a language model like one?"
ANSWER = (
    "A GPU is a processor with thousands of small cores that do the same sum on many numbers at "
    "once. A language model is mostly such sums: for every token it multiplies the same large "
    "matrices again, so the work spreads over all the cores.\n\n"
    "The memory matters as much: the weights have to be read for each token, and a GPU reads its "
    "own memory ten times as fast as a CPU reads its RAM."
)
LAST_BOOT = {
    "kernel": 7.1,
    "userspace": 11.4,
    "booting": 14.0,
    "loading": 16.2,
    "imported": 29.5,
    "weights": 48.0,
    "listening": 66.3,
    "ready": 71.8,
}
FULL = "2026-12-01T00:00:00Z"
State = Callable[[Screen, Api, Person], Awaitable[None]]


async def signing_in(screen: Screen, api: Api, ada: Person) -> None:
    await expect(screen.button("Sign in")).to_be_enabled()


async def answered(screen: Screen, api: Api, ada: Person) -> None:
    api.status |= {"node": "ready"}
    await screen.signed_in(ada)
    await screen.ask(QUESTION)
    job = await api.job()
    job.created_at -= 2400
    job.end(ANSWER, first_token_at=job.created_at + 700)
    await expect(screen.article(QUESTION)).to_contain_text("as fast as")
    await screen.ask("How much does it cost to keep one waiting?")
    job = await api.job(2)
    job.say("Nothing, here: the node stops itself after")
    await expect(screen.article("keep one waiting")).to_contain_text("stops itself")


async def waking(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    api.accepted = {"status": "starting", "eta": 90, "estimate": 74}
    started = now_ms() - 31_000
    timings = {step: started + int(s * 1000) for step, s in LAST_BOOT.items() if s < 31}
    node = {"phase": "loading", "timings": {"started": started, **timings}}
    api.status |= {"node": "loading", "queue_depth": 1, "nodes": [node], "last_boot": LAST_BOOT}
    await screen.ask(QUESTION)
    await api.job()
    await expect(screen.state).to_contain_text("loads the model")


async def refused(screen: Screen, api: Api, ada: Person) -> None:
    latch = {"reason": "AWS Budgets 100 %", "since": "2026-11-26T10:00:00Z", "until": FULL}
    api.status |= {"spend_eur": 20.02, "gpu_hours_left": 0, "latch": latch}
    await screen.signed_in(ada)
    api.refuse(402, "budget_exhausted", until=FULL, reason="AWS Budgets 100 %")
    await screen.ask(QUESTION)
    await expect(screen.alert).to_be_visible()


async def failed(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    await screen.sign_out()
    await screen.sign_in(ada, "Wrong-horse-9")
    await expect(screen.alert).to_be_visible()


STATES: list[State] = [signing_in, answered, waking, refused, failed]
# Those that docs/console.md shows.
KEPT = [
    (signing_in, "light"),
    (answered, "light"),
    (waking, "light"),
    (refused, "light"),
    (answered, "dark"),
    (waking, "dark"),
]


@pytest.mark.parametrize("state", STATES)
async def test_nothing_keeps_people_out(
    screen: Screen, api: Api, ada: Person, state: State
) -> None:
    await screen.page.set_viewport_size(WIDE)
    await state(screen, api, ada)
    for scheme, size in (("light", WIDE), ("dark", NARROW)):
        await screen.page.emulate_media(color_scheme=scheme)
        await screen.page.set_viewport_size(size)
        assert await screen.serious() == []
        assert await screen.page.evaluate(TOO_WIDE) <= 0
        # Whoever wants no motion has none.
        assert await screen.page.evaluate(MOVING) == 0
        if PICTURES and (state, scheme) in KEPT:
            name = f"console-{state.__name__.replace('_', '-')}-{scheme}.png"
            keep(await screen.page.screenshot(), Path(PICTURES) / name)


@pytest.mark.parametrize("look", [{"viewport": NARROW}])
async def test_the_longest_word_fits_a_telephone(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    await screen.ask("w" * 2000)
    (await api.job()).end("https://example.org/" + "a" * 2000)
    await expect(screen.article("www")).to_contain_text("aaa")
    assert await screen.page.evaluate(TOO_WIDE) <= 0


async def test_it_is_small_and_all_of_it_comes_from_here(
    screen: Screen, api: Api, servers: Servers, ada: Person
) -> None:
    page, sizes = await screen.context.new_page(), []
    page.on("requestfinished", lambda asked: sizes.append(asked))
    await page.goto(servers.url)
    await expect(page.get_by_role("form", name="Sign in")).to_be_visible()
    assert {each.url.startswith(servers.url) for each in sizes} == {True}
    told = [await each.sizes() for each in sizes]
    sent = sum(each["responseBodySize"] + each["responseHeadersSize"] for each in told)
    assert 1_000 < sent < MAX_BYTES

"""The console in a browser before the whole local cloud, as `make local` serves it: a real sign-in,
a node that wakes, an answer of a real model, and the node stopped.
"""

import asyncio
import re

import pytest
from playwright.async_api import Locator, expect
from support.console.cognito import Person
from support.console.screen import WAIT_MS, Screen, chromium
from support.system import until_state
from support.users import LONG

from local.cloud import LocalCloud
from local.commands import up
from local.node.node import LocalNode
from local.users import create_user

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


async def begun(screen: Screen) -> Locator:
    """A long answer that is being written; the small model sometimes says nothing at all."""
    said: list[str] = []
    for _ in range(5):
        await screen.ask(LONG)
        story = screen.article("lighthouse keeper").last
        text = story.locator(".text").last
        words = text.filter(has_text=re.compile(r"\w+ \w+"))
        silent = story.locator('.text[aria-busy="false"]')
        await expect(words.or_(silent).first).to_be_attached(timeout=2 * WAIT_MS)
        if await words.count():
            return story
        said.append(await story.inner_text())
    pytest.skip(f"the small model had no word for five questions: {said}")


async def test_a_person_signs_in_wakes_a_node_reads_its_answer_and_stops_it(
    cloud: LocalCloud, off: LocalNode
) -> None:
    email = "console@example.com"
    person = Person(email, await asyncio.to_thread(create_user, cloud, email))
    async with chromium() as browser, up.console(cloud) as site:
        screen = Screen(await browser.new_context(locale="en-GB"), site.url)
        await screen.open()
        await screen.sign_in(person, "Wrong-horse-9")
        await expect(screen.alert).to_contain_text("password is wrong")
        await screen.signed_in(person)
        await expect(screen.spend).to_contain_text("Queue depth")
        await screen.ask("What is the capital of France?")
        await expect(screen.state).to_contain_text(re.compile("GPU node|called|boots|loads"))
        article = screen.article("capital of France")
        await expect(article).to_contain_text("tokens/s", timeout=2 * WAIT_MS)
        await expect(article).to_contain_text("€")

        story = await begun(screen)
        await screen.page.reload()
        await screen.signed_in(person)
        await expect(article).to_contain_text("tokens/s")
        await screen.button("Cancel").click()
        await expect(story).to_contain_text("You cancelled it.")

        await screen.button("Stop the node").click()
        await screen.page.get_by_role("button", name="Stop now").click()
        await until_state(cloud, "stopped")
        origins = {cloud.api_url.removesuffix("/v1"), cloud.endpoint.url, site.url.rstrip("/")}
        await screen.check(origins)

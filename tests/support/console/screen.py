"""One Chromium for all tests, and what a person does with the console in one of its tabs."""

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    Browser,
    BrowserContext,
    Dialog,
    Locator,
    Page,
    async_playwright,
    expect,
)
from support.console.cognito import Person

# Machines are loaded: only failures take so long.
WAIT_MS = 60_000
# Whatever the page is kept from by its policy.
VIOLATIONS = """
window.violations = [];
addEventListener('securitypolicyviolation', (told) =>
  window.violations.push(`${told.violatedDirective} ${told.blockedURI} ${told.sample}`));
"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's own, without a window; the test is skipped where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed (.ci/packages.txt)")
    expect.set_options(timeout=WAIT_MS)
    async with async_playwright() as playwright:
        # root has no sandbox.
        sandbox = os.geteuid() != 0
        browser = await playwright.chromium.launch(executable_path=path, chromium_sandbox=sandbox)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Watched:
    """What all tabs of a person did: where they asked, and what must never be."""

    origins: set[str] = field(default_factory=set)
    sent: int = 0
    wrong: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda asked: self.origins.add(_origin(asked.url)))
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", self._dialog)
        page.on("popup", lambda popup: self.wrong.append(f"popup: {popup.url}"))
        page.on("console", self._console)

    async def _dialog(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _console(self, message: Any) -> None:
        if "Content Security Policy" in message.text:
            self.wrong.append(message.text)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class Screen:
    """A person's browser with one tab of the console."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, url
        self.watched = Watched()
        self.page: Page

    async def open(self) -> Page:
        """A new tab with the console, which is the one that is looked at from now on."""
        self.page = await self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.watched.watch(self.page)
        await self.page.add_init_script(VIOLATIONS)
        await self.page.goto(self.url)
        return self.page

    # --- what a person sees

    @property
    def entrance(self) -> Locator:
        return self.page.get_by_role("form", name="Sign in")

    @property
    def timer(self) -> Locator:
        """In how many seconds the answer begins."""
        return self.page.get_by_role("timer")

    @property
    def prompt(self) -> Locator:
        return self.page.get_by_role("textbox", name="Prompt")

    @property
    def state(self) -> Locator:
        return self.page.get_by_role("status", name="State")

    @property
    def spend(self) -> Locator:
        return self.page.get_by_role("region", name="Spend")

    @property
    def alert(self) -> Locator:
        return self.page.get_by_role("alert").filter(visible=True, has_text=re.compile(r"\S"))

    @property
    def articles(self) -> Locator:
        return self.page.get_by_label("History").get_by_role("article")

    def article(self, text: str) -> Locator:
        """The question, with its answer, in which this stands."""
        return self.articles.filter(has_text=text)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    # --- what a person does

    async def sign_in(self, person: Person, password: str | None = None) -> None:
        await self.entrance.get_by_label("E-mail").fill(person.email)
        await self.entrance.get_by_label("Password").fill(password or person.password)
        await self.entrance.get_by_role("button", name="Sign in").click()

    async def signed_in(self, person: Person) -> None:
        """Signs in, and waits until one can ask."""
        await self.sign_in(person)
        await expect(self.prompt).to_be_visible()

    async def sign_out(self) -> None:
        await self.button("Sign out").click()
        await expect(self.entrance).to_be_visible()

    async def ask(self, prompt: str) -> None:
        await self.prompt.fill(prompt)
        await self.button("Send").click()

    async def forward(self, seconds: float) -> None:
        """Has the page's clock go on by this much; the timers that are due run."""
        await self.page.clock.fast_forward(int(seconds * 1000))

    async def stored(self) -> str:
        """All that the page keeps, or shows in its address."""
        kept = await self.page.evaluate(
            "async () => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie,"
            " location.href, history.state, window.name, await indexedDB.databases(),"
            " await caches.keys()])"
        )
        return kept + str(await self.context.cookies())

    async def serious(self) -> list[str]:
        """What axe finds that keeps people out."""
        found = await Axe().run(self.page)
        return [
            f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']]}"
            for each in found.response["violations"]
            if each["impact"] in ("serious", "critical")
        ]

    async def check(self, allowed: set[str]) -> None:
        """Nothing happened that must never; nobody else was asked."""
        if not self.page.is_closed():
            self.watched.wrong += await self.page.evaluate("window.violations")
        assert self.watched.wrong == []
        assert self.watched.origins <= allowed

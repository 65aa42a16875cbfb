"""Who gets into the console, and what it keeps of them: no password leaves the page, no token
stays.
"""

import json
import re

import pytest
from playwright.async_api import Locator, expect
from support.console.api import Api
from support.console.cognito import Cognito, Person
from support.console.screen import Screen
from support.console.servers import Servers

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


async def test_a_password_is_proved_and_never_sent(
    screen: Screen, cognito: Cognito, ada: Person
) -> None:
    """The scripted Cognito judges the proof as AWS does; a real client has been held against it."""
    await screen.signed_in(ada)
    assert [operation for operation, _ in cognito.calls[:2]] == [
        "InitiateAuth",
        "RespondToAuthChallenge",
    ]
    assert cognito.calls[0][1]["AuthFlow"] == "USER_SRP_AUTH"
    assert ada.password not in json.dumps(cognito.calls)


async def test_any_password_is_as_good(screen: Screen, cognito: Cognito) -> None:
    for password in ("Pässwörter-ⅸ-9", " spaces within 9A ", "x" * 256):
        await screen.signed_in(cognito.person(password=password))
        await screen.sign_out()


async def test_a_wrong_password_and_an_unknown_user_are_told_alike(
    screen: Screen, ada: Person
) -> None:
    said = []
    for person, password in ((ada, "Wrong-horse-9"), (Person("nobody@example.com"), None)):
        await screen.sign_in(person, password)
        await expect(screen.alert).to_contain_text(re.compile("password", re.IGNORECASE))
        await expect(screen.button("Sign in")).to_be_enabled()
        said.append(await screen.alert.inner_text())
        await screen.page.reload()
    assert said[0] == said[1]
    await screen.signed_in(ada)


async def test_a_first_password_is_replaced(screen: Screen, cognito: Cognito) -> None:
    person = cognito.person(temporary=True)
    await screen.sign_in(person)
    form = screen.page.get_by_role("form", name="New password")
    for chosen, says in (("short9A", "12 characters"), ("no-capitals-here-9", "conform")):
        await _choose(form, chosen)
        await expect(screen.alert).to_contain_text(says)
    await _choose(form, "A-new-password-9")
    await expect(screen.prompt).to_be_visible()
    assert person.password == "A-new-password-9"


async def _choose(form: Locator, password: str) -> None:
    await form.get_by_label("New password").fill(password)
    await form.get_by_label("Repeat it").fill(password)
    await form.get_by_role("button", name="Set password").click()


async def test_nothing_secret_is_kept_or_shown_in_an_address(
    screen: Screen, api: Api, servers: Servers, ada: Person
) -> None:
    await screen.signed_in(ada)
    await screen.ask("Keep this.")
    (await api.job()).end("Kept.")
    await expect(screen.article("Keep this.")).to_contain_text("Kept.")
    kept = await screen.stored()
    assert "Keep this." in kept, "the history is"
    tokens = [each.headers["authorization"] for each in api.asked]
    secrets = {*tokens, *(part for token in tokens for part in token.split(".")[1:])}
    assert [each for each in (*secrets, ada.password) if each in kept] == []
    assert [each.path for each in api.asked if any(part in each.path for part in secrets)] == []


async def test_signing_out_forgets_the_tokens(
    screen: Screen, api: Api, cognito: Cognito, ada: Person
) -> None:
    await screen.signed_in(ada)
    await screen.sign_out()
    await expect(screen.entrance.get_by_label("Password")).to_have_value("")
    await api.until(lambda: cognito.count("RevokeToken") == 1)
    asked = len(api.asked)
    await screen.forward(120)
    await expect(screen.prompt).to_be_hidden()
    assert len(api.asked) == asked


async def test_another_user_does_not_see_the_history(
    screen: Screen, api: Api, cognito: Cognito, ada: Person
) -> None:
    await screen.signed_in(ada)
    await screen.ask("Ada's secret.")
    (await api.job()).say("Yes, Ada")
    await expect(screen.article("Ada's secret.")).to_contain_text("Yes, Ada")
    await screen.sign_out()
    bob = cognito.person()
    await screen.signed_in(bob)
    await screen.ask("Bob's.")
    (await api.job(2)).end("Hello, Bob.")
    await expect(screen.article("Bob's.")).to_contain_text("Hello, Bob.")
    await expect(screen.page.locator("body")).not_to_contain_text("Ada")
    bobs = api.jobs[1].sub
    assert api.jobs[0].sub != bobs
    assert len(api.posts()[1].body.get("messages", [0])) == 1, "nor does Bob's model"


async def test_by_keyboard_alone(screen: Screen, api: Api, ada: Person) -> None:
    keyboard = screen.page.keyboard
    await _tab_to(screen, screen.entrance.get_by_label("E-mail"))
    await keyboard.type(ada.email)
    await _tab_to(screen, screen.entrance.get_by_label("Password"))
    await keyboard.type(ada.password)
    await keyboard.press("Enter")
    await expect(screen.prompt).to_be_visible()
    await _tab_to(screen, screen.prompt)
    await keyboard.type("Typed.")
    await _tab_to(screen, screen.button("Send"))
    await keyboard.press("Enter")
    job = await api.job()
    job.say("Once")
    await expect(screen.button("Cancel")).to_be_visible()
    await _tab_to(screen, screen.button("Cancel"))
    await keyboard.press("Enter")
    await api.until(lambda: job.cancelled)


async def _tab_to(screen: Screen, wanted: Locator) -> None:
    """Presses Tab until the focus is there, once around the page at most."""
    for _ in range(40):
        if await wanted.evaluate("element => element === document.activeElement"):
            return
        await screen.page.keyboard.press("Tab")
    raise AssertionError(f"{wanted} cannot be reached by Tab")

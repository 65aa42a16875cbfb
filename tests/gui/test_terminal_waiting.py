"""What is shown while nobody has answered: phases and estimates, in a log and on a terminal."""

import io
import re
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from support.headless import JOB, NOT_YET, Headless, accepted, answer, refusal, reply

from gui.client import Client, Job
from gui.terminal import screen as screen_module
from gui.terminal.screen import Screen
from gui.terminal.waiting import Waiting, left, phase


@pytest.fixture
def headless(monkeypatch: pytest.MonkeyPatch) -> Headless:
    return Headless(monkeypatch)


LANE = {"phase": "loading", "in_flight": 0, "estimate": 9.0}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"node": "ready"}, "the node is ready"),
        ({"node": "booting", "queue_depth": 3}, "the node boots, 3 in the queue"),
        ({"node": "booting", "lane": LANE}, "the instant lane loads the model, the node boots"),
        (
            {"node": "loading", "lane": {**LANE, "failure": {}}},
            "the instant lane loads the model, t",
        ),
        ({"node": "loading", "lane": {"failure": {"code": "x"}}}, "the node loads the model"),
        ({"node": "ready", "lane": LANE}, "the node is ready"),
        ({"node": "starting", "start_failure": {"code": "NoCapacity"}}, "no node started (NoCap"),
        ({"node": "moon\x1b\nshot"}, "the node: moon shot"),
        ({}, "the node: None"),
        (
            {"node": ["x"], "lane": {"phase": {}}, "queue_depth": "7"},
            "the instant lane is called, the",
        ),
    ],
)
def test_a_phase_says_who_will_answer(status: dict[str, Any], says: str) -> None:
    assert phase(status).startswith(says)
    assert phase(status).isprintable()


def test_what_is_left_is_never_less_than_nothing() -> None:
    assert left(3, 12) == "about 9 s left"
    assert left(12.1, 12) == "12 s so far, longer than usual (12 s)"
    assert left(3, None) == "3 s so far"


def test_a_log_has_a_line_a_phase_and_one_after_half_a_minute(headless: Headless) -> None:
    phases = iter(["booting"] * 13 + ["loading"] * 9)
    headless.api.posts = [partial(accepted, "starting", estimate=71.4, eta=90)]
    headless.api.status = lambda: answer(200, {"node": next(phases), "estimate": 80})
    headless.api.replies = [*[NOT_YET] * 150, partial(reply, "done", "Paris.")]
    ended = headless.run("Where?")
    assert ended.out == "Paris.\n"
    assert ended.err.splitlines() == [
        f"tl-fif: starting {JOB}",
        "tl-fif: the node boots, about 80 s left",
        "tl-fif: the node boots, about 50 s left",
        "tl-fif: the node boots, about 20 s left",
        "tl-fif: the node loads the model, about 15 s left",
        "tl-fif: done",
    ]
    asked = [each for each in headless.api.asked if each.url.path.endswith("/status")]
    assert len(asked) == 15


def test_a_warm_answer_asks_for_no_status(headless: Headless) -> None:
    assert headless.run("Where?").code == 0
    assert headless.api.methods() == [each.method for each in headless.api.asked]


@pytest.mark.parametrize("failure", [httpx.ReadError("gone"), lambda: refusal(403)])
def test_a_status_that_fails_stops_nothing(headless: Headless, failure: Any) -> None:
    headless.api.posts = [partial(accepted, "starting", estimate=9)]
    headless.api.status = failure
    headless.api.replies = [*[NOT_YET] * 30, partial(reply, "done", "Paris.")]
    ended = headless.run("Where?")
    assert ended.out == "Paris.\n"
    assert "nobody is ready yet, about 9 s left" in ended.err
    assert len(headless.api.asked) == 1 + 31 + 2


class Tty(io.StringIO):
    """A terminal of some width."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, width: int, encoding: str = "utf-8", **env: str) -> str:
    """A line of progress, 3 s into 12."""
    err = Tty()
    monkeypatch.setattr(Tty, "encoding", encoding)
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(screen_module.sys, "stderr", err)
    monkeypatch.setattr(Screen, "width", property(lambda _: width))
    transport = httpx.MockTransport(lambda _: answer(200, {"node": "booting", "estimate": 12}))
    now = iter([0.0, 3.0])
    clock = SimpleNamespace(monotonic=lambda: next(now))
    monkeypatch.setattr("gui.terminal.waiting.time", clock)
    with Client("http://api", "token", transport=transport) as client:
        Waiting(client, Job("1", "starting", 1, {"estimate": 12}), Screen())()
    return err.getvalue()


def test_a_terminal_has_a_bar_that_fits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = drawn(monkeypatch, 80, NO_COLOR="1")
    assert wide == f"\rthe node boots  {'█' * 6}{'░' * 18}  about 9 s left\x1b[K"
    assert "\x1b[36m" in drawn(monkeypatch, 80)
    assert "######------------------" in drawn(monkeypatch, 80, "ascii")
    for width in range(1, 80):
        line = drawn(monkeypatch, width, NO_COLOR="1").removeprefix("\r").removesuffix("\x1b[K")
        assert 1 <= len(line) < max(2, width)
    assert drawn(monkeypatch, 20, NO_COLOR="1") == "\rabout 9 s left\x1b[K"


def test_a_dumb_terminal_has_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, 80, TERM="dumb") == "tl-fif: the node boots, about 9 s left\n"


def test_what_a_model_writes_is_no_command_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Tty(), Tty()
    monkeypatch.setattr(screen_module.sys, "stdout", out)
    monkeypatch.setattr(screen_module.sys, "stderr", err)
    screen = Screen()
    screen.draw("waiting")
    screen.write("a\x1b]0;title\x07\r\n\tb\x9b")
    screen.say("\x1b[2Jno")
    assert out.getvalue() == "a\ufffd]0;title\ufffd\n\tb\ufffd"
    assert err.getvalue() == "\rwaiting\x1b[K\r\x1b[K\ntl-fif: [2Jno\n"


def test_without_stdout_or_stderr_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen_module.sys, "stdout", None)
    monkeypatch.setattr(screen_module.sys, "stderr", None)
    screen = Screen()
    screen.write("text")
    screen.say("words")
    assert re.fullmatch(r"\d+", str(screen.width))

"""`python -m gui.client chat`: what goes along with a turn, what is forgotten, and what ends it."""

from functools import partial
from typing import Any

import pytest
from support.headless import JOB, Headless, accepted, refusal, reply

from gui.terminal.chat import fitted, message, size


@pytest.fixture
def headless(monkeypatch: pytest.MonkeyPatch) -> Headless:
    return Headless(monkeypatch)


def contents(headless: Headless) -> list[list[str]]:
    """What each turn was posted with."""
    for body in headless.api.bodies():
        roles = [each["role"] for each in body["messages"] if each["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
    return [[each["content"] for each in body["messages"]] for body in headless.api.bodies()]


def test_a_conversation_goes_along_until_it_is_forgotten(headless: Headless) -> None:
    typed = b"One\n\n  \n//two\n/reset\nThree\n/help\n/nonsense\n/quit\nnever\n"
    ended = headless.run("chat", "--system", "Be brief.", stdin=typed)
    assert (ended.code, ended.out) == (0, "Paris.\n" * 3)
    assert contents(headless) == [
        ["Be brief.", "One"],
        ["Be brief.", "One", "Paris.", "/two"],
        ["Be brief.", "Three"],
    ]
    assert "there is no /nonsense; /help says what there is" in ended.err
    assert "the conversation is forgotten" in ended.err
    assert "/reset       forget" in ended.err


def test_several_lines_are_one_message_between_fences(headless: Headless) -> None:
    headless.run("chat", stdin=b'"""One\n\ntwo"""\n """\nthree\n"""\n"""four"""\n"""never')
    assert [each[-1] for each in contents(headless)] == ["One\n\ntwo", "three", "four"]


@pytest.mark.parametrize(
    ("posts", "replies", "says", "code"),
    [
        ([partial(refusal, 503)], [], "503 no: not now", 3),
        ([], [partial(reply, "failed", "half", error="no memory")], "failed: no memory", 1),
        ([], [partial(reply, "done", " \n")], "the answer is empty", 1),
    ],
)
def test_a_turn_that_came_to_nothing_is_forgotten(
    headless: Headless, posts: list[Any], replies: list[Any], says: str, code: int
) -> None:
    headless.api.posts = [*posts, accepted]
    headless.api.replies = [*replies, partial(reply, "done", "Paris.")]
    ended = headless.run("chat", stdin=b"One\nTwo\nThree\n")
    assert contents(headless) == [["One"], ["Two"], ["Two", "Paris.", "Three"]]
    assert f"tl-fif: {says}; this turn is forgotten\n" in ended.err
    assert ended.code == 0
    headless.api.posts = [*posts, accepted]
    headless.api.replies = [*replies, partial(reply, "done", "Paris.")]
    assert headless.run("chat", stdin=b"One").code == code


def test_the_oldest_turns_are_left_out_and_said_to_be(headless: Headless) -> None:
    long = "é" * 1000
    typed = "\n".join([f"{n}{long}" for n in range(3)]) + "\n" + "x" * 6001 + "\nlast\n"
    ended = headless.run("chat", stdin=typed.encode())
    sizes = [sum(len(each.encode()) for each in turn) for turn in contents(headless)]
    assert sizes == [2001, 4008, 4008, 4018]
    assert contents(headless)[2][0].startswith("1")
    assert ended.err.count("the oldest 2 messages are left out: 6,000 bytes fit") == 1
    assert "this has 6,001 bytes; at most 6,000 fit; this turn is forgotten" in ended.err
    assert ended.code == 0


def test_as_much_as_the_api_takes_goes_along() -> None:
    turns = [message(("user", "assistant")[n % 2], "x" * 10) for n in range(301)]
    kept = fitted([message("system", "y")], turns)
    assert len(kept) == 99
    kept = fitted([message("system", "y" * 5000)], [message("user", "z" * 980), *turns[:3]])
    assert [size(each) for each in kept] == [10, 10, 10]
    assert fitted([], [message("user", "x" * 6000)]) != []
    assert fitted([], [message("user", "x" * 6001)]) == []


def test_what_is_no_text_is_no_turn_and_not_the_end(headless: Headless) -> None:
    ended = headless.run("chat", stdin=b"a\xff\nb\n")
    assert contents(headless) == [["b"]]
    assert "the prompt is not UTF-8 text (character 2)" in ended.err
    assert ended.err.count(f"queued {JOB}") == 1

"""`python -m gui.client`: what goes to stdout and what to stderr, exit codes, and that nothing
makes a traceback.
"""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.headless import (
    EXAMPLES,
    JOB,
    NOT_YET,
    TOKEN,
    URL,
    Headless,
    Scripted,
    accepted,
    answer,
    refusal,
    reply,
)

from gui.terminal import command
from gui.terminal.asking import ending
from gui.terminal.screen import scrubbed

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text()


@pytest.fixture
def headless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Headless:
    monkeypatch.chdir(tmp_path)
    return Headless(monkeypatch)


def test_stdout_has_the_text_alone_and_stderr_how_it_was_made(headless: Headless) -> None:
    figures = {
        "completion_tokens": 2,
        "tokens_per_second": 31.25,
        "eur": 0.000012,
        "engine": "llama.cpp-lambda",
        "created_at": 1000,
        "first_token_at": 4200,
        "notice": "cut off",
    }
    replies = ["Pa", "Paris", "Paris."]
    headless.api.replies = [
        NOT_YET,
        *(partial(reply, "running", text, n) for n, text in enumerate(replies)),
        partial(reply, "done", "Paris.", 4, **figures),
    ]
    ended = headless.run("Where?")
    assert (ended.code, ended.out) == (0, "Paris.\n")
    assert ended.err == (
        f"tl-fif: queued {JOB}\ntl-fif: cut off\n"
        "tl-fif: done: 2 tokens, 31.2 tokens/s, €0.000012, by the instant lane, llama.cpp-lambda, "
        "first token after 3.2 s\n"
    )
    assert headless.run("--quiet", "Where?").err == ""


@pytest.mark.parametrize("wrong", [None, "x", -1, float("inf"), [], True, 10**400])
def test_figures_that_are_none_are_left_out(wrong: object) -> None:
    names = ("completion_tokens", "tokens_per_second", "eur", "first_token_at", "created_at")
    assert ending({"status": "done", **dict.fromkeys(names, wrong)}) == "done"


def test_a_worker_that_begins_again_begins_a_new_line(headless: Headless) -> None:
    texts = ["One two", "On", "Other", "Other one\n"]
    headless.api.replies = [partial(reply, "running", text, n) for n, text in enumerate(texts)]
    headless.api.replies.append(partial(reply, "done", texts[-1], 9))
    assert headless.run("Count").out == "One two\nOn\nOther one\n"


def test_a_text_of_half_characters_and_the_file_of_its_reply(headless: Headless) -> None:
    text = "é\ud800\x1b[31m\r\n"
    content = json.dumps({"status": "done", "text": text}).encode()
    headless.api.replies = [lambda: httpx.Response(200, content=content)]
    ended = headless.run("--output", "reply.json", "Hello")
    assert (ended.code, ended.out) == (0, text.replace("\ud800", "?"))
    assert json.loads(Path("reply.json").read_text("utf-8"))["text"] == text


@pytest.mark.parametrize(
    ("final", "says"),
    [
        ({"status": "failed", "error": "out of\nmemory"}, "failed: out of memory"),
        ({"status": "cancelled", "reason": "stopped"}, "cancelled: stopped"),
        ({"status": "expired"}, "expired: no reason given"),
    ],
)
def test_what_is_not_done_is_1(headless: Headless, final: dict[str, Any], says: str) -> None:
    headless.api.replies = [partial(answer, 200, final)]
    ended = headless.run("--quiet", "Hello")
    assert (ended.code, ended.out, ended.err) == (1, "", f"tl-fif: {says}\n")


def test_a_refusal_is_3_and_its_last_line_says_what(headless: Headless) -> None:
    headless.api.posts = [partial(refusal, 402, "budget_exhausted", "spent until Tuesday")]
    ended = headless.run("Hello")
    assert ended.code == 3
    assert ended.err == "tl-fif: 402 budget_exhausted: spent until Tuesday\n"
    headless.api.posts, headless.api.replies = [accepted], [partial(refusal, 503)]
    ended = headless.run("--idempotency-key", "k", "Hello")
    assert ended.code == 3
    assert ended.err.endswith(
        f"tl-fif: the job goes on: {JOB}\n"
        "tl-fif: the same prompt with --idempotency-key k finds it again\n"
        "tl-fif: 503 no: not now\n"
    )
    headless.api.posts = [httpx.ReadTimeout("slow")]
    ended = headless.run("Hello")
    assert ended.code == 3
    assert "the prompt may have been accepted" in ended.err
    headless.api.posts = [httpx.ConnectError("refused")]
    ended = headless.run("Hello")
    assert ended.err == f"tl-fif: POST {URL}/infer: cannot be reached (refused)\n"


@pytest.mark.story("CI-005")
@pytest.mark.parametrize("errors", [0, 1, 2, 3])
def test_a_script_bears_two_errors_of_the_server_and_posts_one_job(
    headless: Headless, errors: int
) -> None:
    headless.api.posts = [*[partial(refusal, 503)] * errors, accepted]
    ended = headless.run("--tries", "3", "--idempotency-key", "k", "Hello")
    assert ended.code == (3 if errors == 3 else 0)
    keys = [each.headers["Idempotency-Key"] for each in headless.api.asked if each.content]
    assert keys == ["k"] * min(errors + 1, 3)
    assert headless.slept[: min(errors, 2)] == [1.0] * min(errors, 2)


def test_a_script_does_not_repeat_what_is_refused(headless: Headless) -> None:
    headless.api.posts = [partial(refusal, 400)]
    assert headless.run("--tries", "3", "Hello").code == 3
    assert headless.api.methods() == ["POST"]


def test_429_is_waited_for_and_said_with_the_same_key(headless: Headless) -> None:
    headless.api.posts = [*[partial(refusal, 429, "rate_limited", Retry_After="7")] * 2, accepted]
    ended = headless.run("Hello")
    assert (ended.code, headless.slept[:2]) == (0, [7, 7])
    assert ended.err.count(
        "429 rate_limited: not now (try again in 7 s); it is posted again in 7 s"
    )
    keys = {each.headers["Idempotency-Key"] for each in headless.api.asked if each.content}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("wait", "argv", "posts"),
    [("50", (), 3), ("3600", (), 1), ("1", ("--max-wait", "0"), 1), ("999999999999", (), 121)],
)
def test_429_is_not_waited_for_without_end(
    headless: Headless, wait: str, argv: tuple[str, ...], posts: int
) -> None:
    headless.api.posts = [partial(refusal, 429, "quota_exceeded", Retry_After=wait)]
    assert headless.run(*argv, "Hello").code == 3
    assert headless.api.methods() == ["POST"] * posts
    assert sum(headless.slept) <= 120


@pytest.mark.parametrize(
    ("argv", "stdin", "prompt"),
    [
        (("Hello `whoami` $HOME",), None, "Hello `whoami` $HOME"),
        (("--", "-5 degrees"), None, "-5 degrees"),
        (("--", "chat"), None, "chat"),
        (("--", "--token"), None, "--token"),
        ((), b"Hello\nyou\n", "Hello\nyou"),
        (("-",), b"\xef\xbb\xbfHello \xc3\xa9\r\n", "Hello é"),
        (("a\0b",), None, "a\0b"),
        (("-",), b"a\0b", "a\0b"),
    ],
)
def test_a_prompt_arrives_unharmed(
    headless: Headless, argv: tuple[str, ...], stdin: bytes | None, prompt: str
) -> None:
    assert headless.run(*argv, stdin=stdin).code == 0
    assert headless.api.bodies() == [{"prompt": prompt}]


def test_options_and_a_system_message_go_along(headless: Headless) -> None:
    options = ("--idle-minutes", "0", "--max-tokens", "4", "--temperature", "0", "--top-p", "0.5")
    headless.run(*options, "--seed", "1", "--system", "Be brief.", "Hello")
    system = {"role": "system", "content": "Be brief."}
    user = {"role": "user", "content": "Hello"}
    told = {"idle_minutes": 0, "max_tokens": 4, "temperature": 0, "top_p": 0.5, "seed": 1}
    assert headless.api.bodies() == [{"messages": [system, user], **told}]


@pytest.mark.parametrize(
    ("argv", "stdin", "says"),
    [
        ((), None, "there is no prompt"),
        (("-",), None, "which is closed"),
        (("-",), b"", "the prompt is blank"),
        ((" \n",), None, "the prompt is blank"),
        (("\udcff",), None, "the prompt is not UTF-8 text (character 1)"),
        (("-",), b"abc\xff", "stdin is not UTF-8 text (byte 4)"),
        (("-",), b"x" * 1_000_001, "stdin has more than 1,000,000 bytes"),
        (("Hello", "you"), None, "more than one prompt: put it in quotes"),
        (("-what?",), None, "no option -what?; a prompt that begins with - goes after --"),
        (("--temperature", "nan", "x"), None, "invalid number value: 'nan'"),
        (("--idempotency-key", "a b", "x"), None, "1 to 128 printable ASCII"),
        (("--tries", "4", "x"), None, "invalid choice"),
        (("--output", "no/such/file", "x"), None, "it is a folder, or in none"),
        (("--output", ".", "x"), None, "it is a folder, or in none"),
        (("--output", "x", "chat"), None, "are for one prompt, and not for a chat"),
        (("--api", "", "x"), None, "--api or $TLFIF_API is needed"),
        (("--token", "", "x"), None, "--token-file or $TLFIF_TOKEN is needed"),
        (("--token", "a b", "x"), None, "the token has blanks"),
        (("--token-file", "none", "x"), None, "--token-file none: No such file"),
        (("--token-file", ".", "x"), None, "--token-file .: Is a directory"),
        (("--token-file", "a\0b", "x"), None, "--token-file a b: "),
        (("--token-file", "a", "--token", "b", "x"), None, "not allowed with"),
        (("--api", "ftp://x", "x"), None, "unknown scheme"),
    ],
)
def test_what_cannot_be_used_is_2_and_one_line(
    headless: Headless, argv: tuple[str, ...], stdin: bytes | None, says: str
) -> None:
    ended = headless.run(*argv, stdin=stdin)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert ended.err.count("\n") == 1
    assert headless.api.asked == []


def test_the_token_comes_from_a_file_and_is_never_repeated(headless: Headless) -> None:
    other = "eyJhbGciOiJ.eyJleHAiOjF9.c2ln"
    Path("token").write_text(f"{other}\n")
    headless.api.posts = [partial(refusal, 400, "invalid_request", f"{other}?")]
    ended = headless.run("--token-file", "token", "Hello")
    [asked] = headless.api.asked
    assert asked.headers["Authorization"] == other
    wrong: list[tuple[str, ...]] = [
        ("--tokn", other, "x"),
        (f"--tokn={other}", "x"),
        ("--token", f"{other} ", other, "x"),
        ("--seed", other, "x"),
        ("--tries", other, "x"),
        (f"-{other}",),
        ("--token-file", other, "x"),
        ("--api", other, "x"),
        ("--token", other, "--token", f"{other}\nX-A: b", "x"),
    ]
    for each in (ended, *(headless.run(*argv) for argv in wrong)):
        assert each.code in (2, 3)
        assert other not in each.err + each.out
        assert "c2ln" not in each.err
    assert scrubbed("abcdef!", "abcdef") == "(the token)!"


def test_the_page_names_every_option_and_every_exit_code() -> None:
    section = PAGE.partition("## Headless client")[2].partition("\n## ")[0]
    options = [
        name
        for action in command._parser()._actions
        for name in action.option_strings
        if name.startswith("--") and name != "--help"
    ]
    assert [name for name in options if f"`{name}" not in section] == []
    rows = dict(re.findall(r"^\| ([0-9]+) \| (.+) \|$", section, re.MULTILINE))
    assert set(rows) == {"0", "1", "2", "3", "130"}


ARGUMENTS = st.lists(
    st.sampled_from(
        ["chat", "-", "--", "--help", "--quiet", "1", "0.5", "nan", "1e400"]
        + [f"--{name.replace('_', '-')}" for name in (*command.API_OPTIONS, "api", "token")]
        + ["--token-file", "--system", "--idempotency-key", "--tries", "--max-wait"]
    )
    | st.text(max_size=20)
    | st.binary(max_size=6).map(lambda each: each.decode("utf-8", "surrogateescape")),
    max_size=6,
)
FIXTURE_IS_FINE = [HealthCheck.function_scoped_fixture]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=FIXTURE_IS_FINE)
@given(argv=ARGUMENTS, stdin=st.none() | st.binary(max_size=20) | st.just(b"/help\nHello\n"))
def test_no_argument_makes_a_traceback(
    headless: Headless, argv: list[str], stdin: bytes | None
) -> None:
    headless.api, headless.slept[:] = Scripted(), []
    ended = headless.run(*argv, stdin=stdin)
    assert ended.code in (0, 1, 2, 3)
    assert ended.code == 0 or ended.err.startswith("tl-fif: ")
    assert TOKEN not in ended.err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
FIELDS = [
    *("id", "status", "text", "error", "message", "until", "notice", "reason", "expires_at"),
    *("estimate", "eta", "sequence", "updated_at", "completion_tokens", "tokens_per_second"),
    *("eur", "engine", "created_at", "first_token_at", "node", "lane", "queue_depth"),
    *("start_failure", "phase", "failure", "__type"),
]
USUAL = st.sampled_from(
    [JOB, "queued", "starting", "running", "done", "failed", "cancelled", "Paris.", 1, 4e12, TOKEN]
)
BODIES = (
    st.dictionaries(st.sampled_from(FIELDS), USUAL | JSON, max_size=8)
    .map(json.dumps)
    .map(str.encode)
    | JSON.map(json.dumps).map(str.encode)
    | st.binary(max_size=12)
    | st.sampled_from([b"<html>Log in", b"[" * 50_000, b'{"a":' * 50_000, b"1" * 5000])
)
HEADERS = st.dictionaries(
    st.sampled_from(["Date", "Retry-After", "Location", "Content-Encoding", "Content-Type"]),
    st.sampled_from(["gzip", "br", "1", "-1", "1e9", "\u00b2", "Thu, 26 Nov 2026 00:00:00 GMT"])
    | st.sampled_from(["Fri, 99 Foo 99999999999999999 99:99:99 +999999", "", TOKEN]),
    max_size=3,
)


@st.composite
def answers(draw: st.DrawFn, *usual: int) -> Any:
    """What a server may say; made when it is asked."""
    status = draw(
        st.sampled_from([*usual, *usual, 204, 301, 400, 401, 402, 403, 404, 429, 500, 503])
    )
    headers, body = httpx.Headers(draw(HEADERS), "latin-1"), draw(BODIES)
    if draw(st.integers(0, 9)) == 0:
        return httpx.ReadError("gone")
    return lambda: httpx.Response(status, headers=headers, content=body)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=FIXTURE_IS_FINE)
@given(
    posts=st.lists(answers(202) | st.just(accepted), min_size=1, max_size=3),
    replies=st.lists(answers(200), max_size=4),
    status=answers(200),
    argv=st.sampled_from([("Hello",), ("--tries", "3", "Hello"), ("chat",)]),
)
def test_no_answer_makes_a_traceback(
    headless: Headless, posts: list[Any], replies: list[Any], status: Any, argv: tuple[str, ...]
) -> None:
    headless.slept[:] = []
    headless.api = Scripted(posts=posts, replies=[*replies, lambda: reply("done")], status=status)
    ended = headless.run(*argv, stdin=b"Hello\n/reset\nAgain\n")
    assert ended.code in (0, 1, 3)
    assert ended.code == 0 or ended.err.startswith("tl-fif: ")
    assert TOKEN not in ended.err
    assert all(line.isprintable() for line in ended.err.splitlines())

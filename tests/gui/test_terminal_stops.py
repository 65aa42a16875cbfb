"""The command as a process: Ctrl-C at every moment, SIGTERM, a closed stdout, a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.headless import (
    JOB,
    LIMIT_S,
    NOT_YET,
    TOKEN,
    Ended,
    Scripted,
    accepted,
    answer,
    ended,
    reply,
    served,
    started,
    until,
)

pytestmark = pytest.mark.integration

CTRL_C, CTRL_D = "\x03", "\x04"


@pytest.fixture
def api() -> Scripted:
    """Nobody answers the prompt."""
    return Scripted(replies=[NOT_YET])


@pytest.fixture
def url(api: Scripted) -> Iterator[str]:
    with served(api) as url:
        yield url


class Gate:
    """An answer that waits: `came` is set when it is asked for, `go` lets it out."""

    def __init__(self, said: Callable[[], httpx.Response]) -> None:
        self.came, self.go = threading.Event(), threading.Event()
        self._said = said

    def __call__(self) -> httpx.Response:
        self.came.set()
        self.go.wait(LIMIT_S)
        return self._said()


def cancelled() -> httpx.Response:
    return answer(200, {"status": "cancelled", "id": JOB})


def stopped(process: "subprocess.Popen[bytes]", number: int = signal.SIGINT) -> Ended:
    """How it ends after a signal."""
    process.send_signal(number)
    return ended(process)


def quiet(said: Ended) -> Ended:
    assert "Traceback" not in said.err
    assert TOKEN not in said.err
    return said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_ends_it_while_it_waits_cancels_the_job(
    api: Scripted, url: str, number: int, code: int
) -> None:
    process = started(url, "Hello")
    until(lambda: "GET" in api.methods())
    said = quiet(stopped(process, number))
    assert (said.code, said.out) == (code, "")
    assert said.err.endswith(f"tl-fif: {JOB} is cancelled\n")
    assert api.methods()[-1] == "DELETE"


def test_ctrl_c_while_it_posts_waits_for_the_id_and_cancels_it(api: Scripted, url: str) -> None:
    gate = Gate(accepted)
    api.posts = [gate]
    process = started(url, "Hello")
    assert gate.came.wait(LIMIT_S)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == (
        b"tl-fif: cancelled once it is accepted; Ctrl-C again ends at once\n"
    )
    gate.go.set()
    said = quiet(ended(process))
    assert said.code == 130
    assert said.err.endswith(f"tl-fif: {JOB} is cancelled\n")
    assert api.methods() == ["POST", "DELETE"]


def test_a_second_ctrl_c_while_it_posts_ends_at_once(api: Scripted, url: str) -> None:
    gate = Gate(accepted)
    api.posts = [gate]
    process = started(url, "Hello")
    assert gate.came.wait(LIMIT_S)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    process.stderr.readline()
    said = quiet(stopped(process))
    gate.go.set()
    assert (said.code, said.out) == (130, "")
    assert said.err == "tl-fif: it may have been accepted, and then runs until it is done\n"


def test_a_second_ctrl_c_while_it_cancels_ends_at_once(api: Scripted, url: str) -> None:
    gate = Gate(cancelled)
    api.deletes = [gate]
    process = started(url, "Hello")
    until(lambda: "GET" in api.methods())
    process.send_signal(signal.SIGINT)
    assert gate.came.wait(LIMIT_S)
    said = quiet(stopped(process))
    gate.go.set()
    assert said.code == 130
    assert said.err.endswith(f"tl-fif: {JOB} may run on: nobody waited for the answer\n")


def test_ctrl_c_before_anything_was_accepted_says_so(api: Scripted, url: str) -> None:
    api.posts = [partial(answer, 429, {"error": "rate_limited"}, Retry_After="60")]
    process = started(url, "Hello")
    assert process.stderr is not None
    assert b"posted again in 60 s" in process.stderr.readline()
    said = quiet(stopped(process))
    assert (said.code, said.err) == (130, "tl-fif: stopped; nothing was accepted\n")
    assert api.methods() == ["POST"]


@pytest.mark.parametrize(
    ("shell", "code", "err"),
    [
        ((), -signal.SIGINT, ""),
        (("trap '' INT; exec \"$@\"", "sh"), 0, "goes on\n"),
    ],
    ids=["heard", "ignored"],
)
def test_ctrl_c_while_it_is_being_imported_ends_it_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: tuple[str, ...], code: int, err: str
) -> None:
    (tmp_path / "httpx.py").write_text(
        "import os, signal, sys\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.stderr.write('goes on\\n')\n"
        "sys.exit(0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = ended(started("http://127.0.0.1:9/v1", "Hello", shell=shell))
    assert (said.code, said.out, said.err) == (code, "", err)


@pytest.mark.parametrize("where", ["pipe", "full"])
def test_a_stdout_that_takes_no_more_cancels_the_job(api: Scripted, url: str, where: str) -> None:
    gate = Gate(partial(reply, "running", "One\nTwo\n", 2))
    api.replies = [partial(reply, "running", "One\n", 1), gate]
    full = os.open("/dev/full", os.O_WRONLY)
    process = started(url, "Hello", stdout=subprocess.PIPE if where == "pipe" else full)
    if process.stdout is not None:
        assert process.stdout.readline() == b"One\n"
        process.stdout.close()
        process.stdout = None
    gate.go.set()
    said = quiet(ended(process))
    os.close(full)
    assert said.code == 1
    assert "stdout takes no more" in said.err
    assert said.err.endswith(f"tl-fif: {JOB} is cancelled\n")
    assert api.methods()[-1] == "DELETE"


def test_an_ignored_ctrl_c_stays_ignored(api: Scripted, url: str) -> None:
    """As of what a script runs in the background."""
    gate = Gate(partial(reply, "done", "Paris."))
    api.replies = [gate]
    process = started(url, "Hello", shell=("trap '' INT; exec \"$@\"", "sh"))
    assert gate.came.wait(LIMIT_S)
    process.send_signal(signal.SIGINT)
    gate.go.set()
    assert quiet(ended(process)).out == "Paris.\n"


class Person:
    """Somebody at a terminal."""

    def __init__(self, url: str, *argv: str) -> None:
        self.mine, theirs = pty.openpty()
        # Opened in a new session it is the session's own, and its keys make signals.
        own = ('exec "$@" <"$0" >"$0" 2>&1', os.ttyname(theirs))
        nowhere = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
        self.process = started(url, *argv, shell=own, start_new_session=True, **nowhere)
        # Whose end is this terminal's, once there is one of the process's own.
        self._theirs = [theirs]
        self.seen = ""

    def sees(self, pattern: str) -> None:
        """Waits until the terminal shows it, after what was seen before."""
        while not (found := re.search(pattern, self.seen)):
            try:
                if not select.select([self.mine], [], [], LIMIT_S)[0]:
                    raise TimeoutError(f"not in {LIMIT_S} s")
                self.seen += os.read(self.mine, 4096).decode(errors="replace")
            except OSError as error:
                raise AssertionError(f"no {pattern!r}: {self.seen!r}: {error}") from None
            while self._theirs:
                os.close(self._theirs.pop())
        self.seen = self.seen[found.end() :]

    def types(self, text: str) -> None:
        os.write(self.mine, text.encode())

    def leaves(self) -> int:
        """Its exit code."""
        code = self.process.wait(LIMIT_S)
        os.close(self.mine)
        return code


@pytest.fixture
def person(url: str) -> Iterator[Callable[..., Person]]:
    made: list[Person] = []

    def sit(*argv: str) -> Person:
        made.append(Person(url, *argv))
        return made[-1]

    yield sit
    for each in made:
        each.process.kill()
        each.process.wait()


def test_a_chat_outlives_ctrl_c_and_ends_with_ctrl_d(
    api: Scripted, person: Callable[..., Person]
) -> None:
    api.replies = [partial(reply, "done", "Paris."), NOT_YET]
    ada = person("chat")
    ada.sees("Ctrl-D ends it")
    ada.types("One\n")
    ada.sees(r"Paris\.")
    ada.sees("done")
    ada.sees("> ")
    ada.types("Two\n")
    ada.sees(r"\d s so far")
    ada.types(CTRL_C)
    ada.sees("is cancelled")
    ada.sees("> ")
    ada.types(f"half a line{CTRL_C}")
    ada.sees("Ctrl-D or /quit ends the chat")
    api.replies = [partial(reply, "done", "Rome.")]
    ada.types("\x1b[200~Three\nfour\x1b[201~\n")
    ada.sees(r"Rome\.")
    ada.sees("> ")
    ada.types(CTRL_D)
    assert ada.leaves() == 0
    first, second, third = api.bodies()
    assert [each["content"] for each in second["messages"]] == ["One", "Paris.", "Two"]
    three: list[Any] = [each["content"] for each in third["messages"]]
    assert three[:2] == ["One", "Paris."]
    assert three[2] in ("Three\nfour", "Three")
    assert [each["content"] for each in first["messages"]] == ["One"]


@pytest.mark.parametrize("moment", range(4))
def test_a_chat_ends_with_sigterm(moment: int, person: Callable[..., Person]) -> None:
    """Also when it comes between the prompt and the wait for a key."""
    ada = person("chat")
    ada.sees("> ")
    time.sleep(moment * 0.001)
    ada.process.terminate()
    assert ada.leaves() == 143


def test_progress_is_redrawn_and_gone_before_the_answer(
    api: Scripted, person: Callable[..., Person]
) -> None:
    api.posts = [partial(accepted, "starting", estimate=9)]
    api.status = partial(answer, 200, {"node": "booting", "lane": {"phase": "loading"}})
    ada = person("Hello")
    ada.sees("the instant lane loads the model, the node boots")
    ada.sees("\r")
    api.replies = [partial(reply, "done", "Paris.")]
    ada.sees("\r\x1b\\[KParis\\.\r\n")
    ada.sees("tl-fif: done")
    assert ada.leaves() == 0

"""`chat`: a conversation, a turn at a time. What has been said goes along with each turn, as much
of it as the API takes; a turn that came to nothing leaves no trace.
"""

import sys
import uuid
from typing import Any

from gui.answers import ClientError, one_line
from gui.client import Client, Message
from gui.terminal.asking import Patience, Question, ending, text_of
from gui.terminal.prompts import LONGEST_BYTES, UsageError, checked_text
from gui.terminal.screen import Screen
from gui.terminal.stops import Stopped, Stops

# What all messages of a request may have together in UTF-8, and how many they may be (docs/api.md).
MAX_BYTES, MAX_MESSAGES = 6000, 100
FENCE = '"""'
HELP = """\
/help        this
/reset       forget the conversation (also /clear)
/quit        end (also /exit, /bye, Ctrl-D)
//text       a message that begins with a slash
\"\"\"          begins and ends a message of several lines
Ctrl-C       cancels the answer, and not the chat
"""


class Chat:
    """One conversation. `run` returns the exit code."""

    def __init__(
        self, client: Client, screen: Screen, stops: Stops, patience: Patience, system: str = ""
    ) -> None:
        self._client, self._screen, self._stops = client, screen, stops
        self._patience = patience
        self._system: list[Message] = [message("system", system)] if system else []
        self._history: list[Message] = []
        self._is_typed = sys.stdin is not None and sys.stdin.isatty()
        # Of a script's turns, the last that came to nothing.
        self._code = 0

    def run(self) -> int:
        """Reads turns until there are no more. Raises Stopped and OutputError."""
        reconfigure: Any = getattr(sys.stdin, "reconfigure", None)
        if reconfigure:
            # What is no UTF-8 is said of its line, and is not the end.
            reconfigure(errors="surrogateescape")
        if self._is_typed:
            edit_lines()
            self._screen.note("a chat; /help says more, Ctrl-D ends it")
        while True:
            try:
                self._stops.again()
                text = self._read()
            except EOFError:
                if self._is_typed:
                    self._screen.tell("\n")
                return 0 if self._is_typed else self._code
            except UsageError as error:
                self._failed(str(error), 2)
                continue
            except Stopped as stopped:
                if not (self._is_typed and stopped.is_ctrl_c):
                    raise
                self._screen.tell("\n")
                self._screen.say("Ctrl-D or /quit ends the chat")
                continue
            if not self._heed(text):
                return 0 if self._is_typed else self._code

    def _heed(self, text: str) -> bool:
        """Does what a line says; whether the chat goes on."""
        word = text.strip()
        if word in ("/quit", "/exit", "/bye"):
            return False
        if word in ("/reset", "/clear"):
            self._history.clear()
            self._screen.note("the conversation is forgotten")
        elif word in ("/help", "/?"):
            self._screen.tell(HELP)
        elif word.startswith("//"):
            self._turn(text.replace("//", "/", 1))
        elif word.startswith("/"):
            self._screen.say(
                f"there is no {one_line(word.split()[0], 40)}; /help says what there is"
            )
        elif word:
            self._turn(text)
        return True

    def _turn(self, text: str) -> None:
        """One message and its answer. Raises Stopped, but for Ctrl-C, and OutputError."""
        asked = [*self._history, message("user", text)]
        kept = fitted(self._system, asked)
        if not kept:
            most = MAX_BYTES - sum(map(size, self._system))
            return self._failed(f"this has {size(asked[-1]):,} bytes; at most {most:,} fit", 2)
        if dropped := len(asked) - len(kept):
            self._screen.note(
                f"the oldest {dropped} messages are left out: {MAX_BYTES:,} bytes fit"
            )
        question = Question(self._client, self._screen, self._stops)
        try:
            reply = question.ask([*self._system, *kept], str(uuid.uuid4()), self._patience)
        except ClientError as error:
            return self._failed(str(error), 3)
        except Stopped as stopped:
            if not stopped.is_ctrl_c or not self._is_typed:
                raise
            return None
        answer = text_of(reply)
        if reply["status"] != "done":
            return self._failed(ending(reply), 1)
        if not answer.strip():
            return self._failed("the answer is empty", 1)
        self._history = [*kept, message("assistant", answer)]
        self._code = 0
        if reply.get("notice"):
            self._screen.note(reply["notice"])
        return self._screen.note(ending(reply))

    def _failed(self, why: str, code: int) -> None:
        self._code = code
        self._screen.say(f"{why}; this turn is forgotten")

    def _read(self) -> str:
        """A message. Raises EOFError, UsageError, Stopped."""
        text = self._line("> ")
        if not text.lstrip().startswith(FENCE):
            return text
        text = text.lstrip().removeprefix(FENCE)
        while not text.rstrip().endswith(FENCE):
            if len(text) > LONGEST_BYTES:
                raise UsageError(f"this has no {FENCE} at its end")
            text += f"\n{self._line('. ')}"
        return text.rstrip().removesuffix(FENCE).strip("\n")

    def _line(self, prompt: str) -> str:
        if sys.stdin is None:
            raise EOFError
        if not self._is_typed:
            line = sys.stdin.readline(LONGEST_BYTES)
            if not line:
                raise EOFError
            return checked_text(line.rstrip("\r\n"))
        if not self._screen.shows_controls:
            # stdout is a file, and no place for it.
            self._screen.tell(prompt)
            prompt = ""
        with self._stops.looked_for():
            return checked_text(input(prompt))


def edit_lines() -> None:
    """Lines can be edited, and what is pasted comes as one, where this Python can."""
    try:
        import readline
    except ImportError:
        return
    readline.parse_and_bind("set enable-bracketed-paste on")


def message(role: str, content: str) -> Message:
    """As POST /infer takes it."""
    return {"role": role, "content": content}


def size(each: Message) -> int:
    """Bytes of a message, as the API counts them."""
    return len(each["content"].encode())


def fitted(system: list[Message], asked: list[Message]) -> list[Message]:
    """The latest of what was asked that fit, and begin with the user's; none if not even the last
    does.
    """
    room, count = MAX_BYTES - sum(map(size, system)), MAX_MESSAGES - len(system)
    first = len(asked)
    while first and size(asked[first - 1]) <= room and len(asked) - first < count:
        first -= 1
        room -= size(asked[first])
    while first < len(asked) and asked[first]["role"] != "user":
        first += 1
    return asked[first:]

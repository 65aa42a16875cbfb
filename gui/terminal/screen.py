"""Where the command writes: the reply's text to stdout, everything else to stderr, where a line of
progress is redrawn in place if that is a terminal.
"""

import os
import re
import sys
from contextlib import suppress
from typing import Any, TextIO

from gui.answers import one_line, without

# Of a terminal that does not say.
WIDTH = 80
_JWT = re.compile(r"eyJ[\w-]{6,}(\.[\w-]*){0,2}")
# What a model writes is no command to a terminal.
_CONTROLS = {each: "\ufffd" for each in (*range(32), *range(127, 160)) if each not in b"\t\n"}
_CONTROLS[ord("\r")] = ""


class OutputError(Exception):
    """stdout takes no more, as when `head` has seen enough; the message says why."""


def scrubbed(text: object, secret: str = "") -> str:
    """One line without the token, and without what looks like one."""
    return _JWT.sub("(a token)", without(secret, one_line(text, 1000)))


class Screen:
    """stdout and stderr. `quiet` leaves out all but errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.secret = ""
        self.quiet = quiet
        # None where the caller has closed it.
        self._out: TextIO | None = sys.stdout
        self._err: TextIO | None = sys.stderr
        reconfigure: Any = getattr(self._out, "reconfigure", None)
        if reconfigure:
            # Half a character, which JSON can name, is no reason to end.
            reconfigure(errors="replace")
        self.shows_controls = _is_terminal(self._out)
        self.is_live = not quiet and _is_terminal(self._err) and os.environ.get("TERM") != "dumb"
        self.has_colour = self.is_live and not os.environ.get("NO_COLOR")
        self._drawn = False
        self._within_line = False

    @property
    def width(self) -> int:
        """Columns of the terminal, at this moment."""
        try:
            return os.get_terminal_size(self._err.fileno() if self._err else 2).columns or WIDTH
        except (OSError, ValueError):
            return WIDTH

    def has_letters(self, letters: str) -> bool:
        """Whether stderr can show these."""
        try:
            letters.encode(getattr(self._err, "encoding", None) or "ascii")
        except (UnicodeError, LookupError):
            return False
        return True

    def write(self, text: str) -> None:
        """A piece of the reply. Raises OutputError."""
        if not text or self._out is None:
            return
        self.clear()
        if self.shows_controls:
            text = text.translate(_CONTROLS)
        try:
            self._out.write(text)
            self._out.flush()
        # A file that is closed is a ValueError.
        except (OSError, ValueError) as error:
            self._give_up_stdout()
            why = getattr(error, "strerror", None) or error
            raise OutputError(f"stdout takes no more: {one_line(why)}") from error
        self._within_line = not text.endswith("\n")

    def end_line(self) -> None:
        """Ends the reply's last line. Raises OutputError."""
        if self._within_line:
            self.write("\n")

    def note(self, text: object) -> None:
        """A line that `quiet` leaves out."""
        if not self.quiet:
            self.say(text)

    def say(self, text: object) -> None:
        """A line on stderr, whoever wrote it: printable, and without the token."""
        self.clear()
        begins = "\n" if self._within_line and self.shows_controls else ""
        self._within_line = self._within_line and not begins
        self.tell(f"{begins}tl-fif: {scrubbed(text, self.secret)}\n")

    def draw(self, line: str) -> None:
        """Redraws the line of progress; it is to be shorter than the terminal is wide."""
        self.tell(f"\r{line}\x1b[K")
        self._drawn = True

    def clear(self) -> None:
        """Removes the line of progress."""
        if self._drawn:
            self.tell("\r\x1b[K")
            self._drawn = False

    def tell(self, text: str) -> None:
        """To stderr as it is; whether anybody reads it is no matter."""
        if self._err is None:
            return
        with suppress(OSError, ValueError):
            self._err.write(text)
            self._err.flush()

    def _give_up_stdout(self) -> None:
        """What is left in its buffer goes nowhere, and not to a traceback at the end."""
        out, self._out = self._out, None
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, out.fileno() if out else 1)
            os.close(nowhere)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False

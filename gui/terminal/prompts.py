"""What the command is given: the prompt, from an argument or from stdin, and the token."""

import os
import sys
from typing import Any, BinaryIO

from gui.answers import one_line

# Nobody reads a device without end. What a prompt may have the API says.
LONGEST_BYTES = 1_000_000
LONGEST_TOKEN_BYTES = 65_536


class UsageError(Exception):
    """The command line, or what stdin has, cannot be used; the message says why."""


def prompt_of(argument: str | None) -> str:
    """The prompt: the argument, or what stdin has where it is `-` or left out. Raises UsageError.

    A file's last line break is none of the prompt's.
    """
    if argument is not None and argument != "-":
        text = checked_text(argument)
    elif argument is None and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError('there is no prompt: python -m gui.client "What is a GPU?", or by stdin')
    else:
        text = _stdin().removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise UsageError("the prompt is blank")
    return text


def checked_text(text: str) -> str:
    """The text; raises UsageError where a byte of it was no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        where = f"character {error.start + 1}"
        raise UsageError(f"the prompt is not UTF-8 text ({where}); convert it") from None
    return text


def _stdin() -> str:
    if sys.stdin is None:
        raise UsageError("the prompt was to come by stdin, which is closed")
    source: BinaryIO | Any = getattr(sys.stdin, "buffer", None)
    try:
        if source is None:
            return checked_text(sys.stdin.read(LONGEST_BYTES + 1))
        content = source.read(LONGEST_BYTES + 1)
        if len(content) > LONGEST_BYTES:
            raise UsageError(f"stdin has more than {LONGEST_BYTES:,} bytes; that is no prompt")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin is not UTF-8 text (byte {error.start + 1}); convert it") from None
    except OSError as error:
        raise UsageError(f"stdin cannot be read: {one_line(error.strerror or error)}") from None


def token_of(argument: str | None, file: str | None) -> str:
    """The token: of --token, of the file, or of $TLFIF_TOKEN; '' where there is none. Raises
    UsageError.
    """
    if argument is not None:
        return argument
    if file is None:
        return os.environ.get("TLFIF_TOKEN", "")
    try:
        with open(file, "rb") as opened:  # noqa: PTH123  # also a descriptor's path, /dev/fd/63
            content = opened.read(LONGEST_TOKEN_BYTES)
    except (OSError, ValueError) as error:
        why = one_line(getattr(error, "strerror", None) or error, 80)
        raise UsageError(f"--token-file {one_line(file, 200)}: {why}") from None
    # What is none of a token's letters is found where it is looked at.
    return content.decode("latin-1")

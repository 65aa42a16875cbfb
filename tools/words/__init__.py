"""The words of make's ARGS: split as a shell splits them, by blanks and quotes, and nothing in them
expanded: no variable, no command, no pattern of files.
"""

import shlex

NAME = "ARGS"


class WordsError(ValueError):
    """The text has no words; the message says why and what to do."""


def words(text: str) -> list[str]:
    """The words, each without its quotes. Raises WordsError."""
    try:
        return shlex.split(text)
    except ValueError as error:
        said = str(error)
        wrong = f"{said[0].lower()}{said[1:]}"
        fix = f"give each word that has blanks its own quotes: {NAME}='-k \"this or that\"'"
        raise WordsError(f"{NAME} = {text[:120]!r}: {wrong}; {fix}") from None

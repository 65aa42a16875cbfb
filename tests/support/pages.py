"""The commands on the pages: what is in their fenced blocks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from recording.model import ROOT

# What a block's fence says of it: commands to be run as they stand; the same, of which nothing can
# be run on this machine. Anything else is no command.
SHELL, ELSEWHERE = "sh", "sh elsewhere"
_FENCE = re.compile(r"^ *```(.*)$")
_HEADING = re.compile(r"^#+ +(.*)$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """Lines between two fences, `line` the number of the first; `section` is the heading above."""

    page: str
    line: int
    info: str
    section: str
    text: str

    @property
    def runs(self) -> bool:
        """Whether this machine can run it."""
        return self.info == SHELL

    @property
    def where(self) -> str:
        """The page and the line."""
        return f"docs/{self.page}:{self.line}"


def blocks(page: str) -> Sequence[Block]:
    """The blocks of a page in docs/, in their order. Raises ValueError where a fence is open."""
    found: list[Block] = []
    section, opened, lines = "", None, list[str]()
    for number, line in enumerate((ROOT / "docs" / page).read_text().splitlines(), 1):
        fence, heading = _FENCE.match(line), _HEADING.match(line)
        if fence and opened is None:
            opened, lines = (fence[1].strip(), number + 1), []
        elif fence and opened is not None:
            (info, first), opened = opened, None
            text = "\n".join(lines) + "\n"
            found.append(Block(page=page, line=first, info=info, section=section, text=text))
        elif opened is not None:
            lines.append(line)
        elif heading:
            section = heading[1]
    if opened is not None:
        raise ValueError(f"docs/{page}:{opened[1]}: this block does not end")
    return found


def commands(page: str) -> Sequence[Block]:
    """The blocks that are to be run, wherever that can be done."""
    return [each for each in blocks(page) if each.info in (SHELL, ELSEWHERE)]


def section(page: str, heading: str) -> Sequence[Block]:
    """The blocks to be run below one heading. Raises LookupError where there are none."""
    found = [each for each in commands(page) if each.section == heading]
    if not found:
        raise LookupError(f"docs/{page} has no commands below {heading!r}")
    return found

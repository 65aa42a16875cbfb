"""docs/queue.md does what it says: its redis-cli lines, sent in order to a server restricted as
ElastiCache is.
"""

import fnmatch
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from local.machine.valkey import Valkey
from recording.model import ROOT
from tlfif import names
from tlfif.queue import scripts

pytestmark = pytest.mark.integration

PAGE = (ROOT / "docs" / "queue.md").read_text()
PRINTS = ".venv/bin/python -m tlfif.queue.scripts "


def lines() -> Iterator[str]:
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        yield from block.splitlines()


def arguments(line: str, files: dict[str, str]) -> list[str]:
    """A redis-cli line as the command it sends; --eval reads a file and separates keys from
    arguments by a comma.
    """
    words = shlex.split(line.replace('"$REDIS_HOST"', "host"))
    assert words[:3] == ["redis-cli", "-h", "host"]
    if words[3] != "--eval":
        return words[3:]
    comma = words.index(",")
    keys, rest = words[5:comma], words[comma + 1 :]
    return ["EVAL", files[words[4]], str(len(keys)), *keys, *rest]


def printed(script: str) -> str:
    """What the page's command prints."""
    command = [sys.executable, "-m", "tlfif.queue.scripts", script]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def flat(answer: Any) -> str:
    if isinstance(answer, list):
        return " ".join(flat(each) for each in answer)
    return str(answer)


@pytest.mark.story("RED-003")
async def test_every_command_answers_what_the_page_says(valkey: Valkey) -> None:
    files: dict[str, str] = {}
    answer, compared = "", 0
    with redis.Redis(valkey.host, valkey.port, decode_responses=True, protocol=2) as client:
        client.response_callbacks.clear()
        for line in lines():
            if line.startswith(PRINTS):
                script, _, target = line.removeprefix(PRINTS).split()
                files[target] = printed(script)
            elif line.startswith("redis-cli "):
                try:
                    answer = flat(client.execute_command(*arguments(line, files)))
                except redis.ResponseError as error:
                    answer = str(error)
            elif line.startswith("# answers:"):
                expected = line.removeprefix("# answers:").strip()
                assert fnmatch.fnmatchcase(answer, expected), (answer, expected)
                compared += 1
    assert compared > 8


@pytest.mark.story("RED-003")
def test_the_page_names_every_key_that_the_scripts_use() -> None:
    keys = [getattr(names, each) for each in scripts.CONSTANTS]
    of_one = ("job", "node", "cancelled", "withdrawn", "rate", "idem")
    for key in [*keys, *(f"{each}:" for each in of_one)]:
        assert f"`{key}" in PAGE, key

"""Every key of the queue and of a reply is written once, in tlfif/names.py."""

import re
from pathlib import Path

import pytest

from recording.model import ROOT
from tlfif import names
from tlfif.queue import scripts

CODE = [
    path
    for folder in ("tlfif", "worker", "functions", "gpu_image", "components")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".lua") and path.name != "names.py"
]
LUA = [path for path in CODE if path.suffix == ".lua"]
# What a key begins with, whoever's it is.
PREFIXES = [
    names.job_key(""), names.cancelled_key(""), names.withdrawn_key(""), names.node_key(""),
    names.rate_key(""), names.idempotency_key("", "")[:-1],
    f"{names.REPLIES}/", f"/{names.REPLIES}/",
]  # fmt: skip
VALUES = [getattr(names, each) for each in scripts.CONSTANTS]
COMPOUND = [*PREFIXES, *(value for value in VALUES if ":" in value)]


def spelled(path: Path, keys: list[str], end: str = "") -> list[str]:
    """The string literals of a file that begin with one of these."""
    return re.findall(rf"""["'](?:{"|".join(map(re.escape, keys))}){end}""", path.read_text())


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_key_is_spelled_elsewhere(path: Path) -> None:
    assert spelled(path, COMPOUND) == []


@pytest.mark.parametrize("path", LUA, ids=lambda path: path.name)
def test_no_script_spells_a_plain_key_either(path: Path) -> None:
    """Words such as `jobs`, which Python uses for other things too."""
    assert spelled(path, VALUES, "['\"]") == []


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    file = tmp_path / "a.lua"
    file.write_text("redis.call('GET', 'cancelled:' .. id, 'jobs', \"node:wake\", 'rate:')")
    assert spelled(file, COMPOUND) == ["'cancelled:", '"node:', "'rate:"]
    assert spelled(file, VALUES, "['\"]") == ["'jobs'", '"node:wake"']


def test_a_script_has_the_keys_as_python_makes_them() -> None:
    text, _ = scripts.source("working/renew")
    assert "local STREAM = 'jobs'\n" in text
    assert "function job_key(job_id) return 'job:' .. job_id .. '' end" in text
    assert "return 'replies/' .. sub .. '/' .. job_id .. '.json' end" in text


def test_a_scripts_text_is_the_same_each_time() -> None:
    text, sha = scripts.source("accepting/accept")
    scripts.source.cache_clear()
    assert scripts.source("accepting/accept") == (text, sha)

"""The console's modules that touch no page, under Node's own test runner: SRP, API, judgement,
errors, conversation, countdown, storage. Skipped where there is no Node 20.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest
from support import srp

ROOT = Path(__file__).resolve().parents[2]
CONSOLE, UNITS = "gui/console", "tests/gui/console"
OLDEST_NODE = 20
POOL, PASSWORD = "eu-west-1_AbC123xyz", "Pässwörd-€ 1"
SIGN_INS = 6


def _node() -> str:
    """Node's path; skips the test where there is none, or an old one."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH: the console's units need Node 20 or later")
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    major = int(done.stdout.removeprefix("v").partition(".")[0])
    if major < OLDEST_NODE:
        pytest.skip(f"node is {done.stdout.strip()}: the console's units need Node 20 or later")
    return node


def _codes() -> list[str]:
    """Every error code that the API's page or its definition names."""
    rows = re.findall(
        r"^\| [\d, ]+ \| `(\w+)`(?:, `(\w+)`)? \|", _text("docs/api.md"), re.MULTILINE
    )
    told = re.findall(r'"error":"(\w+)"', _text("openapi.yaml"))
    codes = {code for row in rows for code in row if code} | set(told)
    assert len(codes) > 20, codes
    return sorted(codes)


def _text(path: str) -> str:
    return (ROOT / path).read_text()


def _copied(folder: Path) -> None:
    """Modules and tests as they lie in the tree, in a place that calls them modules."""
    (folder / "package.json").write_text('{"type": "module"}')
    for path in (CONSOLE, UNITS):
        shutil.copytree(ROOT / path, folder / path)


def test_the_console_s_units_hold_under_node(tmp_path: Path) -> None:
    node = _node()
    _copied(tmp_path)
    pool = [
        srp.asked(
            POOL,
            f"user-{number}",
            PASSWORD,
            salt=secrets.randbits(128),
            secret=secrets.randbits(512),
            block=secrets.token_bytes(64),
        )
        for number in range(SIGN_INS)
    ]
    asked = [{"pool": POOL, "password": PASSWORD, "challenge": each.challenge()} for each in pool]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    environment = {
        **os.environ,
        "API_CODES": json.dumps(_codes()),
        "SRP_ASKED": str(tmp_path / "asked.json"),
        "SRP_ANSWERED": str(tmp_path / "answered.json"),
    }
    tests = sorted(str(path) for path in (tmp_path / UNITS).glob("*.test.js"))
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", *tests],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    answers = json.loads((tmp_path / "answered.json").read_text())
    proofs = [(int(each["open"], 16), each["answer"]) for each in answers]
    assert [one.proves(*proof) for one, proof in zip(pool, proofs, strict=True)] == [
        True
    ] * SIGN_INS
    # A pool that knows another password believes none of it.
    other = srp.asked(POOL, "user-0", "another", pool[0].salt, pool[0].secret, pool[0].block)
    assert not other.proves(*proofs[0])


def test_every_module_of_the_console_is_small_and_none_is_fetched_from_elsewhere() -> None:
    paths = sorted((ROOT / CONSOLE).iterdir())
    assert len(paths) <= 15
    # As a server sends them that does not compress.
    assert sum(path.stat().st_size for path in paths) < 100_000
    texts = {path.name: path.read_text() for path in paths}
    assert {name: n for name, text in texts.items() if (n := len(text.splitlines())) > 400} == {}
    scripts = {name: text for name, text in texts.items() if name.endswith(".js")}
    assert {
        name for name, text in scripts.items() if re.search(r"^.{101}", text, re.MULTILINE)
    } == set()
    # What people and models write is never markup.
    markup = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
    )
    assert {name for name, text in scripts.items() if re.search(markup, text)} == set()
    elsewhere = r"(?:src|href)=\"(?:https?:)?//|@import|url\(|from \"(?!\./)"
    assert {name for name, text in texts.items() if re.search(elsewhere, text)} == set()
    page = texts["index.html"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page)

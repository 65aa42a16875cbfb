"""docs/security.md: each path has a proof that exists, and all callers are there."""

import ast
import re
from functools import cache

import pytest

from recording.model import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
PROOF = re.compile(r"`(test_\w+\.py)::(test_\w+)`")
SECTION = PAGE.partition("## Who may reach what")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SECTION.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| caller"))
]
CALLERS = ["anybody", "signed in", "router", "node", "lane", "guardian", "killer", "meter"]
CALLERS += ["publisher", "operator", "test stage", "deploy, smoke stage", "authorizer"]


@cache
def functions_of(name: str) -> set[str]:
    """The functions of the test files of this name."""
    return {
        node.name
        for path in (ROOT / "tests").rglob(name)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}: {row[1]}"[:60])
def test_each_path_has_a_proof_that_exists(row: list[str]) -> None:
    _, _, _, proofs = row
    found = PROOF.findall(proofs)
    assert found
    assert PROOF.sub("", proofs).strip(", ") == ""
    assert [f"{file}::{test}" for file, test in found if test not in functions_of(file)] == []


def test_the_files_of_packages_without_hashes_are_named(tracked: list[str]) -> None:
    pinned = {
        path
        for path in tracked
        if re.fullmatch(r"(requirements.*|constraints)\.txt", path.rpartition("/")[2])
        and "==" in (text := (ROOT / path).read_text())
        and "--hash=" not in text
    }
    [risk] = [line for line in PAGE.split("\n- ") if line.startswith("**Most Python packages")]
    said = set(re.findall(r"`([\w/-]+\.txt)`", risk.partition("PyPI")[0]))
    assert said == pinned


def test_every_caller_has_a_path() -> None:
    named = ", ".join(row[0] for row in ROWS)
    assert [caller for caller in CALLERS if caller not in named] == []
    assert "GitHub" in SECTION

"""The pages whose commands are executed: which of them cannot be, and from when on what bills.

Their execution is tests/engine/test_runbooks.py.
"""

import re
import subprocess

import pytest
from support import pages
from support.pages import Block

from components import billed
from recording.model import ROOT, Resource
from tools import readme
from tools.pages import bills_when

EXECUTED = ("first-deployment.md", "procedures.md")
BLOCKS = [block for page in EXECUTED for block in pages.commands(page)]
# What this machine cannot run, by how it begins, and why.
ELSEWHERE = {
    "aws-vault add tl-fif": "asks for somebody's access key",
    "git add": "pushes to a fork on GitHub",
    "aws-vault rotate tl-fif": "makes an access key of somebody's",
}
# What a person would have to fill in.
_BLANK = re.compile(r"…|<[a-z-]+>|\bi-[x0]+\b|XXX")


@pytest.mark.parametrize("page", EXECUTED)
def test_every_block_of_an_executed_page_says_what_it_is(page: str) -> None:
    odd = [
        each.where
        for each in pages.blocks(page)
        if each.info not in (pages.SHELL, pages.ELSEWHERE, "text")
    ]
    assert odd == []


def test_few_commands_cannot_be_run_here_and_each_says_so() -> None:
    found = [each.text for each in BLOCKS if not each.runs]
    assert [text for text in found if not text.startswith(tuple(ELSEWHERE))] == []
    assert len(found) == len(ELSEWHERE)
    assert len(BLOCKS) > 8 * len(found)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.where)
def test_a_block_can_be_copied_as_it_stands(block: Block) -> None:
    assert not _BLANK.search(block.text), "a blank to fill in: make it a variable"
    checked = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
    assert not checked.returncode, checked.stderr


def test_a_stack_that_is_forgotten_leaves_its_file_which_is_in_git() -> None:
    removed = [line for each in BLOCKS for line in each.text.splitlines() if "stack rm" in line]
    assert removed
    assert [line for line in removed if "--preserve-config" not in line] == []


def test_pulumi_is_the_last_of_a_block_that_needs_the_stack_afterwards() -> None:
    """The test's local cloud runs what was deployed when the block has ended."""
    uses = re.compile(
        r"pulumi (?:up|destroy)\b.*(?:gui\.client|curl |make (?:deploy|unlatch))", re.DOTALL
    )
    assert [each.where for each in BLOCKS if uses.search(each.text)] == []


# --- what bills when


def resources() -> list[Resource]:
    every = (each for recording in bills_when.every_stack() for each in recording.resources)
    return [each for each in every if each.custom]


@pytest.mark.story("CI-001")
def test_every_resource_of_every_stack_is_in_the_table() -> None:
    table, types = bills_when.table(), {each.type for each in resources()}
    missing = [kind for kind in types if f"`{bills_when.short(kind)}`" not in table]
    assert missing == []
    assert table in (ROOT / "docs" / EXECUTED[0]).read_text(), "run make docs"


def test_what_bills_is_told_apart_from_what_does_not() -> None:
    billing = {each.type for each in resources() if billed.billed_items(each.type, each.inputs)}
    costs, _, free = bills_when.table().partition("| resource | costs nothing |")
    assert billing == bills_when.WHEN.keys() & {each.type for each in resources()}
    assert all(f"| `{bills_when.short(kind)}` |" in costs for kind in billing)
    assert not any(f"`{bills_when.short(kind)}`" in free for kind in billing)


def test_the_executed_pages_are_pages() -> None:
    assert {f"docs/{page}" for page in EXECUTED} <= {
        each.relative_to(ROOT).as_posix() for each in readme.pages()
    }

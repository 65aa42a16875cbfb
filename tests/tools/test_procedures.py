"""The pages whose commands are executed: which of them cannot be, and from when on what bills.

Their execution is tests/engine/test_runbooks.py.
"""

import re
import subprocess
from pathlib import Path

import botocore.session
import jmespath
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
    "aws-vault rotate --no-session tl-fif": "makes an access key of somebody's",
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


def test_aws_vault_hands_out_what_iam_accepts() -> None:
    """Without either it opens a session without MFA, which IAM refuses."""
    told = [line for page in readme.pages() for line in page.read_text().splitlines()]
    vault = [line for line in told if re.search(r"aws-vault (?:exec|rotate)\b", line)]
    accepted = re.compile(r"aws-vault (?:exec|rotate) (?:--no-session|--duration=\d+h) tl-fif\b")
    assert len(vault) > 5
    assert [line for line in vault if not accepted.search(line)] == []


def test_every_program_that_a_command_needs_is_asked_for_first() -> None:
    page = (ROOT / "docs" / EXECUTED[0]).read_text()
    needs = page[page.index("## 1. What you need") : page.index("```")]
    used = {
        name
        for block in BLOCKS
        for name in re.findall(r"(?:^|[(|]) *(make|git|curl|openssl|jq|docker)\b", block.text, re.M)
    }
    assert used == {"make", "git", "curl", "openssl"}
    assert [name for name in used if f"`{name}`" not in needs] == []


def test_a_python_on_a_page_is_the_project_s_own() -> None:
    """The system's has none of what the modules import."""
    told = [line for page in readme.pages() for line in page.read_text().splitlines()]
    assert [line for line in told if re.match(r" *python3? -m", line)] == []
    assert any(line.startswith(".venv/bin/python -m tools.github_roles") for line in told)


def test_a_bake_that_runs_is_waited_for_before_the_tear_down() -> None:
    """The page's query against all states that Image Builder's API knows."""
    (block,) = [each for each in BLOCKS if "list-image-pipeline-images" in each.text]
    query = re.search(r"--query '(.*)'", block.text)
    assert query
    images = (
        botocore.session.get_session().get_service_model("imagebuilder").shape_for("ImageState")
    )
    states = images.members["status"].enum
    bakes = {"imageSummaryList": [{"arn": each, "state": {"status": each}} for each in states]}
    assert {arn for arn, _ in jmespath.search(query[1], bakes)} == {
        "PENDING", "CREATING", "BUILDING", "TESTING", "DISTRIBUTING", "INTEGRATING",
    }  # fmt: skip


# --- waiting for the node

_READY = '{"nodes":{"node":"ready"}} 200'


@pytest.mark.parametrize(
    ("answers", "looks"),
    [
        (['{"node":"loading"} 200', '{"message":"x"} 502', _READY, "never"], 3),
        (['{"node":"loading"} 200', '{"error":"unauthorized"} 401', "never"], 2),
        (['{"error":"forbidden"} 403', "never"], 1),
        (['{"node":"loading"} 200'], 180),
    ],
)
def test_the_wait_for_the_node_ends(answers: list[str], looks: int, tmp_path: Path) -> None:
    (block,) = [each for each in BLOCKS if "seq 180" in each.text]
    waits = block.text[block.text.index("for look") : block.text.index("echo")]
    (tmp_path / "answers").write_text("".join(f"{each}\n" for each in answers))
    curl = 'curl() { echo >> looks; sed -n "$(wc -l < looks)p;\\$p" answers | head -1; }'
    script = (
        f"set -eo pipefail\nexport TLFIF_TOKEN=x TLFIF_API=x\n{curl}\nsleep() {{ :; }}\n{waits}"
    )
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True, timeout=30)
    assert len((tmp_path / "looks").read_text().splitlines()) == looks


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


def test_the_bucket_of_the_state_is_in_the_table() -> None:
    """Each step leaves a version in it; the page's own rule ends them."""
    assert "Pulumi's state" in bills_when.table()
    page = (ROOT / "docs" / EXECUTED[0]).read_text()
    assert f'"NoncurrentVersionExpiration": {{"NoncurrentDays": {bills_when.STATE_DAYS}}}' in page


def test_the_executed_pages_are_pages() -> None:
    assert {f"docs/{page}" for page in EXECUTED} <= {
        each.relative_to(ROOT).as_posix() for each in readme.pages()
    }

"""Every relative link of the pages leads to a file, and to a heading in it, that exist."""

import re
from pathlib import Path

import pytest

from recording.model import ROOT
from tools import readme

LINK = re.compile(r"\]\(([^)\s]+)\)")
# GitHub's own address of a workflow's badge.
BADGE = "../../actions/workflows/"


def text_of(page: Path) -> str:
    """A page without what stands in code."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """GitHub's names for a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead(page: Path, link: str) -> bool:
    """Whether a relative link leads nowhere."""
    if link.startswith(BADGE):
        workflow = link.removeprefix(BADGE).removesuffix("/badge.svg")
        return not (ROOT / ".github" / "workflows" / workflow).is_file()
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return True
    return bool(anchor) and anchor not in anchors(target)


def relative_links(page: Path) -> list[str]:
    return [link for link in LINK.findall(text_of(page)) if not re.match(r"https?:", link)]


@pytest.mark.parametrize("page", readme.pages(), ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert [link for link in relative_links(page) if dead(page, link)] == []


def test_the_readme_links_to_every_page() -> None:
    root = ROOT / "README.md"
    targets = {link.partition("#")[0] for link in relative_links(root)}
    pages = {page.relative_to(ROOT).as_posix() for page in readme.pages()} - {"README.md"}
    assert pages <= targets


@pytest.mark.parametrize("page", readme.pages(), ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path, tracked: list[str]) -> None:
    folders = {path.partition("/")[0] for path in tracked if "/" in path}
    named = set(re.findall(r"`([\w.]+/[\w./-]*)`", page.read_text()))
    ours = {path for path in named if path.partition("/")[0] in folders}
    assert sorted(path for path in ours if not (ROOT / path).exists()) == []


@pytest.mark.parametrize(
    "link",
    ["nothing.md", "docs/api.md#nothing", "#nothing", "../outside.md", BADGE + "no.yml/badge.svg"],
)
def test_a_dead_link_is_found(link: str) -> None:
    assert dead(ROOT / "README.md", link)

"""CODEOWNERS: of the rules that match a file the last one counts, so the specific stand last."""

import re

import pytest

from recording.model import ROOT

RULES = [
    line.split()
    for line in (ROOT / ".github" / "CODEOWNERS").read_text().splitlines()
    if line and not line.startswith("#")
]
MAINTAINERS, BACK_END = "@tl-fif/maintainers", "@tl-fif/back-end"
FRONT_END, PLATFORM = "@tl-fif/front-end", "@tl-fif/platform"
OWNER_OF_FOLDER = {
    ".ci": MAINTAINERS,
    ".github": MAINTAINERS,
    "bench": PLATFORM,
    "components": PLATFORM,
    "docs": MAINTAINERS,
    "functions": BACK_END,
    "gpu_image": PLATFORM,
    "gui": FRONT_END,
    "local": PLATFORM,
    "observability": PLATFORM,
    "queries": PLATFORM,
    "recording": PLATFORM,
    "tests": MAINTAINERS,
    "tlfif": BACK_END,
    "tools": PLATFORM,
    "worker": BACK_END,
}
OWNER_OF_FILE = {
    "openapi.yaml": BACK_END,
    "components/gateway.py": BACK_END,
    "__main__.py": MAINTAINERS,
    "README.md": MAINTAINERS,
}


def matches(pattern: str, path: str) -> bool:
    """Whether a rule covers a file: `*`, `/folder/` or `/file`, and no other pattern is known."""
    if pattern == "*":
        return True
    assert re.fullmatch(r"/[\w./-]+", pattern), f"the matcher does not know {pattern}"
    path = f"/{path}"
    return path.startswith(pattern) if pattern.endswith("/") else path == pattern


def rule_of(path: str) -> list[str]:
    """The pattern that counts for a file, and its owners."""
    return [rule for rule in RULES if matches(rule[0], path)][-1]


@pytest.mark.story("API-001")
@pytest.mark.parametrize(("path", "owner"), OWNER_OF_FILE.items())
def test_a_file_with_an_owner_of_its_own_has_that_one(
    path: str, owner: str, tracked: list[str]
) -> None:
    assert path in tracked
    assert rule_of(path)[1:] == [owner]


def test_every_folder_has_the_owner_that_is_meant(tracked: list[str]) -> None:
    first_of = {path.partition("/")[0]: path for path in reversed(tracked) if "/" in path}
    assert {folder: rule_of(path)[1:] for folder, path in first_of.items()} == {
        folder: [owner] for folder, owner in OWNER_OF_FOLDER.items()
    }


def test_no_rule_is_shadowed_by_a_later_one(tracked: list[str]) -> None:
    counting = {rule_of(path)[0] for path in tracked}
    assert [pattern for pattern, *_ in RULES if pattern not in counting] == []

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
    "delivery": PLATFORM,
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
    "components/rest_api.py": BACK_END,
    "components/router.py": PLATFORM,
    ".github/CODEOWNERS": MAINTAINERS,
    ".github/workflows/pipeline.yml": MAINTAINERS,
    "components/iam.py": MAINTAINERS,
    "components/iam_delivery.py": MAINTAINERS,
    "tools/posture/decisions.py": MAINTAINERS,
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


def test_every_file_is_reviewed_by_its_folders_owner_or_by_its_own(tracked: list[str]) -> None:
    """Who reviews each file: the owner of its top folder, but for the rules that name less."""
    special = [pattern for pattern, *_ in RULES if pattern.count("/") > 1 and pattern[-1] != "/"]
    special += [pattern for pattern, *_ in RULES if pattern.count("/") > 2]
    strange = {
        path: rule_of(path)[1:]
        for path in tracked
        if rule_of(path)[0] not in special and rule_of(path)[1:] != [owner_of(path)]
    }
    assert strange == {}
    assert {path for path in tracked if rule_of(path)[0] in special} < set(tracked)


def owner_of(path: str) -> str:
    """Of a file without a rule of its own; KeyError for a folder that nobody is meant to have."""
    if "/" in path:
        return OWNER_OF_FOLDER[path.partition("/")[0]]
    return OWNER_OF_FILE.get(path, MAINTAINERS)


def test_every_owner_is_one_that_is_meant() -> None:
    owners = {owner for _, *named in RULES for owner in named}
    assert owners == {MAINTAINERS, PLATFORM, BACK_END, FRONT_END}
    assert all(len(named) == 1 for _, *named in RULES)


def test_no_rule_is_shadowed_by_a_later_one(tracked: list[str]) -> None:
    counting = {rule_of(path)[0] for path in tracked}
    assert [pattern for pattern, *_ in RULES if pattern not in counting] == []

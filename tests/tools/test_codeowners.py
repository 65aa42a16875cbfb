"""CODEOWNERS: of the rules that match a file the last one counts, so the specific stand last."""

import re

import pytest

from recording.model import ROOT

RULES = [
    line.split()
    for line in (ROOT / ".github" / "CODEOWNERS").read_text().splitlines()
    if line and not line.startswith("#")
]
# Whoever has replaced the teams has done so everywhere: each role is known by one rule.
MAINTAINERS, BACK_END, FRONT_END, PLATFORM = (
    next(owners for pattern, *owners in RULES if pattern == of)
    for of in ("*", "/functions/", "/gui/", "/components/")
)
OWNER_OF_FOLDER = {
    ".ci": MAINTAINERS,
    ".github": MAINTAINERS,
    "bench": PLATFORM,
    "components": PLATFORM,
    "delivery": MAINTAINERS,
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
    "__main__.py": MAINTAINERS,
    "README.md": MAINTAINERS,
}

# Who may change these may give themselves the account's rights, or the repository's.
DECIDING = (
    ".github/CODEOWNERS",
    ".github/workflows/preview.yml",
    "components/access.py",
    "components/build_project.py",
    "components/delivery.py",
    "components/iam.py",
    "components/iam_delivery.py",
    "components/resource_policies.py",
    "delivery/deploy.yml",
    "local/iam/policy.py",
    "local/iam/usage.py",
    "tools/delivery/deploy.py",
    "tools/github_roles.py",
    "tools/posture/decisions.py",
    "tools/setup.py",
    "tools/workflows/__main__.py",
)


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
@pytest.mark.parametrize("path", OWNER_OF_FILE)
def test_a_file_with_an_owner_of_its_own_has_that_one(path: str, tracked: list[str]) -> None:
    assert path in tracked
    assert rule_of(path)[1:] == OWNER_OF_FILE[path]


@pytest.mark.parametrize("path", DECIDING)
def test_what_decides_over_rights_is_the_maintainers(path: str, tracked: list[str]) -> None:
    assert path in tracked
    # By a rule of its own, which stays when the folder's owner is another.
    assert rule_of(path)[0] not in {"*", "/components/", "/local/", "/tools/"}
    assert rule_of(path)[1:] == MAINTAINERS


def test_every_file_is_reviewed_by_its_folders_owner_or_by_its_own(tracked: list[str]) -> None:
    """Who reviews each file: the owner of its top folder, but for the rules that name less."""
    special = [pattern for pattern, *_ in RULES if pattern.count("/") > 1 and pattern[-1] != "/"]
    special += [pattern for pattern, *_ in RULES if pattern.count("/") > 2]
    strange = {
        path: rule_of(path)[1:]
        for path in tracked
        if rule_of(path)[0] not in special and rule_of(path)[1:] != owner_of(path)
    }
    assert strange == {}
    assert {path for path in tracked if rule_of(path)[0] in special} < set(tracked)


def owner_of(path: str) -> list[str]:
    """Of a file without a rule of its own; KeyError for a folder that nobody is meant to have."""
    if "/" in path:
        return OWNER_OF_FOLDER[path.partition("/")[0]]
    return OWNER_OF_FILE.get(path, MAINTAINERS)


def test_every_owner_is_one_that_is_meant() -> None:
    meant = (MAINTAINERS, PLATFORM, BACK_END, FRONT_END)
    assert all(meant)
    assert [rule for rule in RULES if rule[1:] not in meant] == []


def test_no_rule_is_shadowed_by_a_later_one(tracked: list[str]) -> None:
    counting = {rule_of(path)[0] for path in tracked}
    assert [pattern for pattern, *_ in RULES if pattern not in counting] == []

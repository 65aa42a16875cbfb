"""What checkov found, and what of it nobody decided on: pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Why findings of one check stay: `asks` is what the check wants, `where` the addresses of the
    resources that it may find, with stars; another resource is a new finding.
    """

    check: str
    asks: str
    where: tuple[str, ...]
    why: str

    def covers(self, finding: "Finding") -> bool:
        """Whether it was decided for this resource."""
        return finding.check == self.check and any(
            fnmatchcase(finding.address, pattern) for pattern in self.where
        )


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """A check that one resource of a stack fails."""

    check: str
    address: str
    stack: str
    asks: str


def findings(report: Any) -> set[Finding]:
    """Those of checkov's JSON, about plans in files that are called as their stacks.

    Raises ValueError where it judged nothing or could not read a plan: no finding is no verdict
    then.
    """
    reports: list[Mapping[str, Any]] = report if isinstance(report, list) else [report]
    judged = [each for each in reports if each.get("summary", {}).get("resource_count")]
    if unread := [file for each in judged for file in each["results"].get("parsing_errors", ())]:
        raise ValueError(f"checkov could not read {', '.join(map(str, unread))}")
    if not judged:
        raise ValueError("checkov judged no resource at all")
    return {_finding(one) for each in judged for one in each["results"]["failed_checks"]}


def _finding(failed: Mapping[str, Any]) -> Finding:
    name = failed["file_path"].rpartition("/")[2]
    return Finding(
        check=failed["check_id"],
        address=failed["resource"],
        stack=name.removesuffix(".json"),
        asks=failed["check_name"],
    )


def verdict(
    found: Iterable[Finding], decisions: Sequence[Decision], *, whole: bool = True
) -> list[str]:
    """A line for everything that is wrong: findings that nobody decided on, by check, and, if
    `whole`, decisions that no stack needs any more.
    """
    found = set(found)
    new = {each for each in found if not any(one.covers(each) for one in decisions)}
    return [*_undecided(new), *(_stale(found, decisions) if whole else ())]


def _undecided(new: set[Finding]) -> Iterator[str]:
    for check, asks in sorted({(each.check, each.asks) for each in new}):
        where: dict[str, list[str]] = {}
        for each in sorted(new):
            if each.check == check:
                where.setdefault(each.address, []).append(each.stack)
        listed = ", ".join(f"{address} ({', '.join(on)})" for address, on in where.items())
        yield f"{check} {asks}: {listed}. Mend it, or decide in tools/posture/decisions.py why not"


def _stale(found: set[Finding], decisions: Sequence[Decision]) -> Iterator[str]:
    for one in decisions:
        mine = [each.address for each in found if each.check == one.check]
        for pattern in one.where:
            if not any(fnmatchcase(address, pattern) for address in mine):
                yield f"{one.check} {pattern}: decided on, and found in no stack: remove it"

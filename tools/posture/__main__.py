"""`make posture`: what checkov finds in every stack that nobody decided on.

python -m tools.posture [--json] [stack …]

Stacks that are named are those beside the program; without, those that the project came with.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from recording import shipped
from recording.shipped import stacks
from tools.posture import checkov, judgement, plans
from tools.posture.decisions import DECISIONS


def judged(names: Sequence[str]) -> set[judgement.Finding]:
    """Every finding in these stacks; raises CheckovError, PlansError, RuntimeError, ValueError."""
    return judgement.findings(checkov.judge(checkov.install(), plans.planned(names)))


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every finding was decided on, and every decision is needed; else 1 and a line each."""
    parser = argparse.ArgumentParser(prog="posture", description=__doc__)
    parser.add_argument("stacks", nargs="*", help="those as shipped, if none is named")
    parser.add_argument("--json", action="store_true", help="print every finding, decided or not")
    given = parser.parse_args(arguments)
    if not given.stacks:
        shipped.show()
    names = given.stacks or stacks()
    if unknown := sorted(set(names) - set(stacks())):
        return _fail(f"{', '.join(unknown)}: no such stack; there are {', '.join(stacks())}")
    try:
        found = judged(names)
    except (RuntimeError, ValueError) as error:
        return _fail(str(error))
    if given.json:
        print(json.dumps([asdict(each) for each in sorted(found)], indent=1))
    wrong = judgement.verdict(found, DECISIONS, whole=set(names) == set(stacks()))
    for line in wrong:
        print(line, file=sys.stderr)
    kinds = len({each.check for each in found})
    print(
        f"posture: {len(found)} findings of {kinds} kinds in {', '.join(names)}; "
        f"{f'{len(wrong)} to decide on' if wrong else 'each was decided on (docs/security.md)'}",
        file=sys.stderr,
    )
    return 1 if wrong else 0


def _fail(what: str) -> int:
    print(f"posture: {what}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

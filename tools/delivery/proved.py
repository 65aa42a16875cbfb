"""Which versions of the router a smoke test has passed with: the alias's own description says so.

A smoke test that was stopped, or ran out of time, rolls nothing back, and nobody hears of it: the
next deployment begins with `python -m tools.delivery.proved`, which says what serves untried.
"""

import re
import sys
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tlfif.names import ALIAS
from tools.calling import region_of
from tools.delivery import summary as slack
from tools.outputs import stack_outputs, stack_parser
from tools.stage import client, ended

NEEDED = ("router_arn",)
_SAYS = "Smoke tests passed with versions"
# Far more than are kept, and far less than the 256 characters that Lambda takes.
_REMEMBERED = 20


def main() -> int:
    """Says what serves untried; 0 whatever it is, for the deployment that follows may mend it."""
    parser = stack_parser("python -m tools.delivery.proved", __doc__, "whose router")
    given = parser.parse_args()
    return ended(lambda: _tell(given.stack, given.outputs))


def _tell(stack: str, file: Path | None) -> int:
    arn = stack_outputs(stack, file, NEEDED, "python -m tools.delivery.proved")["router_arn"]
    try:
        alias = _alias(client("lambda", region_of(arn)), arn)
    except (BotoCoreError, ClientError) as error:
        print(f"tl-fif: whether what serves was tried is not known: {error}", file=sys.stderr)
        return 0
    version = alias["FunctionVersion"]
    if not version.isdigit() or version in _proved(alias):
        return 0
    said = (
        f"tl-fif {stack}: version {version} serves, and no smoke test has passed with it: its own "
        "was stopped, took too long or could not judge it, or there was none"
    )
    print(said, flush=True)
    if trouble := slack.tell(stack, region_of(arn), said):
        print(f"tl-fif: {trouble}", file=sys.stderr)
    return 0


def remember(arn: str, version: str) -> None:
    """Writes that a smoke test has passed with a version. Raises botocore's errors."""
    lambda_ = client("lambda", region_of(arn))
    before = [each for each in _proved(_alias(lambda_, arn)) if each != version]
    listed = ", ".join([*before, version][-_REMEMBERED:])
    lambda_.update_alias(FunctionName=arn, Name=ALIAS, Description=f"{_SAYS} {listed}")


def _alias(lambda_: Any, arn: str) -> dict[str, Any]:
    return lambda_.get_alias(FunctionName=arn, Name=ALIAS)


def _proved(alias: dict[str, Any]) -> list[str]:
    """The versions that an alias's description names, in its order."""
    text = alias.get("Description") or ""
    return re.findall(r"\d+", text.removeprefix(_SAYS)) if text.startswith(_SAYS) else []


if __name__ == "__main__":
    sys.exit(main())

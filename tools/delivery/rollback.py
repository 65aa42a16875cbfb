"""`make rollback`: the version before the one that serves serves again, or the one that is named.

Of a deployment that was never finished it takes the shift back, and no more.
"""

import argparse
import sys
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from tools.calling import region_of
from tools.delivery import summary
from tools.delivery.shifting import Pace
from tools.delivery.versions import CONFIG, LATEST, DeliveryError, Router, Serving
from tools.outputs import OutputsError, stack_outputs

NEEDED = ("router_arn",)
PIPED = "the next deployment shifts on from there"
UNPIPED = (
    "the stack has no pipeline: its next `pulumi up` that changes the router, or that refreshes, "
    "moves the alias on to the version it publishes"
)


def main() -> int:
    """Moves the alias and says what serves; 0, or 1 with one line of error."""
    parser = argparse.ArgumentParser(prog="python -m tools.delivery.rollback", description=__doc__)
    parser.add_argument("--stack", default="dev", help="whose router (default: %(default)s)")
    parser.add_argument(
        "--outputs", type=Path, help="the stack's outputs as JSON, instead of asking pulumi"
    )
    parser.add_argument("--version", help="which version is to serve (default: the one before)")
    arguments = parser.parse_args()
    try:
        outputs = stack_outputs(arguments.stack, arguments.outputs, NEEDED, "make rollback")
        region = region_of(outputs["router_arn"])
        lambda_ = boto3.client("lambda", region_name=region, config=CONFIG)
        said = rolled_back(Router(lambda_, outputs["router_arn"], Pace().wait), arguments.version)
    except (DeliveryError, OutputsError) as error:
        print(f"tl-fif: {error}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"tl-fif: AWS does not do it: {error}", file=sys.stderr)
        return 1
    print(f"tl-fif: {said}; {PIPED if outputs.get('pipeline_name') else UNPIPED}")
    if trouble := summary.tell(arguments.stack, region, f"tl-fif {arguments.stack}: {said}"):
        print(f"tl-fif: {trouble}")
    return 0


def rolled_back(router: Router, version: str | None) -> str:
    """Has a version serve all of the traffic, and says which; raises DeliveryError."""
    found = router.serving()
    chosen = _chosen(router, found, version)
    if found.version == chosen and not found.weights:
        return f"version {chosen} serves already"
    router.settings(chosen)
    router.move(found, chosen, {})
    commit = router.commit_of(chosen)
    made = f" (commit {commit})" if commit else ""
    return f"version {chosen}{made} serves all of the traffic, before: {found}"


def _chosen(router: Router, found: Serving, version: str | None) -> str:
    if version is not None:
        if not version.isdigit():
            raise DeliveryError(f"VERSION = {version}: it is the number of a published version")
        return version
    if found.weights:
        return found.version
    numbers = router.numbers()
    below = [each for each in numbers if found.version == LATEST or each < int(found.version)]
    if not below:
        known = ", ".join(map(str, numbers)) or "none"
        raise DeliveryError(
            f"there is no version below {found.version}, which serves; there are: {known}"
        )
    return str(below[-1])


if __name__ == "__main__":
    sys.exit(main())

"""`make rollback`: the version before the one that serves serves again, or the one that is named.

Of a deployment that was never finished it takes the shift back, and no more. What is rolled back to
must answer a call first.
"""

import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from tools.calling import region_of
from tools.delivery import summary
from tools.delivery.shifting import Pace
from tools.delivery.versions import CONFIG, EVENT, LATEST, TRIES, DeliveryError, Router, Serving
from tools.outputs import OutputsError, stack_outputs, stack_parser

NEEDED = ("router_arn",)
PIPED = "the next deployment shifts on from there"
UNPIPED = (
    "the stack has no pipeline: its next `pulumi up` that changes the router, or that refreshes, "
    "moves the alias on to the version it publishes"
)


def main() -> int:
    """Moves the alias and says what serves; 0, or 1 with one line of error."""
    parser = stack_parser("python -m tools.delivery.rollback", __doc__, "whose router")
    parser.add_argument("--version", help="which version is to serve (default: the one before)")
    parser.add_argument(
        "--from",
        dest="bad",
        help="only if the alias names this version, which is deleted then: it proved bad",
    )
    parser.add_argument(
        "--force", action="store_true", help="even to a version that does not answer"
    )
    arguments = parser.parse_args()
    try:
        outputs = stack_outputs(arguments.stack, arguments.outputs, NEEDED, "make rollback")
        region = region_of(outputs["router_arn"])
        lambda_ = boto3.client("lambda", region_name=region, config=CONFIG)
        router = Router(lambda_, outputs["router_arn"], Pace().wait)
        said = rolled_back(router, arguments.version, bad=arguments.bad, forced=arguments.force)
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


def rolled_back(
    router: Router, version: str | None, *, bad: str | None = None, forced: bool = False
) -> str:
    """Has a version serve all of the traffic, and says which; with `bad` only if the alias names
    that one, which is deleted then. A version that does not answer is refused, unless `forced`.
    Raises DeliveryError, and MovedError when somebody else moves the alias meanwhile.
    """
    for name, given in (("VERSION", version), ("FROM", bad)):
        if given is not None and not given.isdigit():
            raise DeliveryError(f"{name} = {given}: it is the number of a published version")
    if bad is not None and bad == version:
        raise DeliveryError(f"FROM = {bad}: it is another version than VERSION")
    found = router.serving()
    if bad is not None and bad not in (found.version, *found.weights):
        return f"nothing is rolled back: the alias does not name version {bad}, but {found}"
    chosen = _chosen(router, found, version, bad)
    if found.version == chosen and not found.weights:
        return f"version {chosen} serves already"
    # What serves already takes a shift back without any question.
    if chosen != found.version and not forced:
        _require_answer(router, chosen)
    router.move(found, chosen, {})
    commit = router.commit_of(chosen)
    made = f" (commit {commit})" if commit else ""
    gone = "" if bad is None else f"; {router.discard(bad)}"
    return f"version {chosen}{made} serves all of the traffic, before: {found}{gone}"


def _require_answer(router: Router, version: str) -> None:
    router.wake(version)
    wrong = ""
    for _ in range(TRIES):
        wrong = router.call(version, EVENT)
        if not wrong:
            return
    raise DeliveryError(
        f"version {version} is bad: {wrong} ({TRIES} times in a row); the alias was not moved: "
        "VERSION= another one, or ARGS=--force"
    )


def _chosen(router: Router, found: Serving, version: str | None, bad: str | None) -> str:
    if bad is not None and bad in found.weights:
        return found.version
    if version is not None:
        return version
    # One that is bad goes, also when another one is being shifted to from it.
    if found.weights and bad is None:
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

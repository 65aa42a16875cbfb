"""From when on each resource of a stack costs, for docs/first-deployment.md."""

from collections.abc import Sequence
from functools import cache

from components import billed, prices
from recording.evaluate import evaluate
from recording.model import Recording
from recording.shipped import stacks

REGION = "us-east-1"
# A stack as the page leaves it, whatever its connection is called.
PIPED = {
    "tl-fif:alerts": {"email": "you@example.com"},
    "tl-fif:delivery": {
        "connectionArn": "arn:aws:codeconnections:us-east-1:000000000000:connection/"
        "00000000-0000-4000-8000-000000000000",
        "repository": "you/tl-fif",
    },
}
# Each billed type of resource, what it is here, and from when on it costs.
WHEN: dict[str, tuple[str, str]] = {
    billed.CACHE: ("the queue", "each hour from the first `pulumi up` on, used or not"),
    billed.ENDPOINT: (
        "the ways from the VPC to AWS's APIs",
        "each hour and zone from the first `pulumi up` on, where it is an interface; the gateway "
        "to S3 is free",
    ),
    billed.BALANCER: ("the nodes' TLS balancer", "each hour, with `gpu:tlsIngress`"),
    billed.CERTIFICATE: ("its certificate", "free, as long as it is not exported"),
    billed.ALARM: ("alarms", "each month from the first `pulumi up` on, beyond ten an account"),
    billed.DASHBOARD: ("the dashboard", "each month, beyond three an account"),
    billed.INSTANCE: (
        "the nodes",
        "disk and snapshot each hour from the second `pulumi up` on, also while it is stopped; "
        "machine and address each second that it runs",
    ),
    billed.IMAGE_PIPELINE: (
        "bakes of the image",
        "each minute of a bake; the snapshot that comes of it, until `make bake` or the operator "
        "removes it",
    ),
    billed.FUNCTION: ("the functions", "each call; those of each minute from the first day on"),
    billed.STAGE: ("the API", "each request that the authorizer and the throttle let through"),
    billed.LOG_GROUP: ("logs", "each GB that is written, beyond 5 an account"),
    billed.BUCKET: ("replies, weights, artefacts", "each request, and what is kept"),
    billed.CANARY: (
        "looks at /ping as the stories want it",
        "each run beyond 100 a month; one a minute with `gateway:probe: synthetics`",
    ),
    billed.USER_POOL: ("users", "each who signs in within a month, beyond 10,000"),
    billed.SUBSCRIPTION: ("who is warned", "each mail, beyond 1,000 a month"),
    billed.PIPELINE: (
        "the delivery pipeline",
        "each minute that an action runs or waits, beyond 100 a month; nothing between pushes",
    ),
    billed.BUILD: ("its builds", "each minute of a build"),
}

# Pulumi's state is no stack's resource. How long its bucket keeps old versions is what the page
# sets; how much that is, by estimate: 0.4 MB and its copy at each step of a dozen ups a month.
STATE_DAYS = 90
_STATE_MONTHLY = {"S3 storage": 0.5, "S3 write": 2000}


@cache
def table() -> str:
    """A row for each billed type of any stack, dearest first in `dev` with a pipeline, and for what
    is billed without a resource; then, by reason, what costs nothing. KeyError for a billed type
    that WHEN does not know.
    """
    recordings = every_stack()
    monthly = _monthly(recordings[0])
    items = _billed(recordings)
    rows = [
        f"| `{short(kind)}` | {WHEN[kind][0]} | {len(recordings[0].of_type(kind))} "
        f"| {WHEN[kind][1]} | {_prices(items[kind])} | {monthly.get(kind, 0):.2f} |"
        for kind in sorted(items, key=lambda kind: (-monthly.get(kind, 0), kind))
    ]
    rows += [
        f"| none | {line['what']} | | as used | {_prices([line['item']])} | {line['usd']:.2f} |"
        for line in recordings[0].bill
        if line["per"] == "month" and not line["resource"]
    ]
    rows.append(_state())
    head = "| resource | what it is here | in dev | it costs | by | $ a month in dev |"
    free = [f"| {kinds} | {why} |" for why, kinds in _free(recordings).items()]
    nothing = "| resource | costs nothing |"
    return "\n".join([head, "|---|---|---:|---|---|---:|", *rows, "", nothing, "|---|---|", *free])


@cache
def every_stack() -> list[Recording]:
    """The stack that the page leaves, and those of the project."""
    return [evaluate("dev", config=PIPED), *map(evaluate, stacks())]


def _monthly(recording: Recording) -> dict[str, float]:
    """What each type costs in a month without a GPU-hour, in USD."""
    usd: dict[str, float] = {}
    for line in recording.bill:
        if line["per"] == "month":
            usd[line["resource"]] = usd.get(line["resource"], 0) + line["usd"]
    return usd


def _billed(recordings: Sequence[Recording]) -> dict[str, list[str]]:
    """The items that each billed type is paid by, in the first recording that has it."""
    found: dict[str, list[str]] = {}
    for recording in recordings:
        types = {each.type for each in recording.resources if each.custom} - billed.FREE.keys()
        for kind in types - found.keys():
            items = [billed.billed_items(kind, each.inputs) for each in recording.of_type(kind)]
            if all_ := frozenset[str]().union(*items):
                found[kind] = sorted(all_)
    return found


def _state() -> str:
    usd = sum(prices.PRICES[item][REGION].usd * n for item, n in _STATE_MONTHLY.items())
    when = f"each write, and what is kept, old versions for {STATE_DAYS} days, until it is removed"
    paid_by = _prices(list(_STATE_MONTHLY))
    return f"| none | Pulumi's state, in section 2's bucket | 1 | {when} | {paid_by} | {usd:.2f} |"


def _prices(items: Sequence[str]) -> str:
    listed = [prices.PRICES[item][REGION] for item in items]
    return ", ".join(f"{each.item} {_usd(each.usd)} per {each.unit}" for each in listed if each.usd)


def _usd(amount: float) -> str:
    return f"${amount:.10f}".rstrip("0").rstrip(".")


def _free(recordings: Sequence[Recording]) -> dict[str, str]:
    """The types that cost nothing, by the reason."""
    used = {each.type for recording in recordings for each in recording.resources if each.custom}
    reasons: dict[str, list[str]] = {}
    for kind in sorted(used & billed.FREE.keys()):
        reasons.setdefault(billed.FREE[kind], []).append(f"`{short(kind)}`")
    return {why: ", ".join(kinds) for why, kinds in sorted(reasons.items())}


def short(kind: str) -> str:
    """A type as the program writes it: `lambda.Function` of `aws:lambda/function:Function`."""
    _, module, name = kind.split(":")
    return f"{module.partition('/')[0]}.{name}"

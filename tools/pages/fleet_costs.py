"""What nodes cost, by their number, and as spot: tables of docs/fleet.md."""

from components import pricing
from components.costs import FIXED, LEFT, SPOT_LEFT
from components.prices import PRICES, REGIONS, VCPUS, spot_item
from components.settings import Settings
from recording.evaluate import evaluate

COUNTS = (1, 2, 4)


def table() -> str:
    """A row for each number of nodes, of a stack with the default settings in us-east-1."""
    one = evaluate("dev", config={"tl-fif:gpu": {"spot": True}}).outputs
    head = "`gpu:count` | disks €/month | together €/month | GPU-hours left | at the spot estimate"
    rows = [f"| {' | '.join(_row(count, one))} |" for count in COUNTS]
    return "\n".join([f"| {head} |", "|---|---:|---:|---:|---:|", *rows])


def _row(count: int, one: dict[str, float]) -> list[str]:
    """Of `count` nodes, from the outputs for one: each has a disk more."""
    settings = Settings.parse({"aws:region": "us-east-1"})
    gigabytes = [pricing.line("gp3 volume", settings.gpu.disk_gb, "a disk")]
    disk = pricing.total_usd(pricing.bill(gigabytes, settings.region)) / settings.costs.usd_per_eur
    cap, fixed = settings.budget.cap_eur, one[FIXED] + (count - 1) * disk
    share = max(0.0, (cap - fixed) / (cap - one[FIXED]))
    hours = [f"{one[name] * share:.0f}" for name in (LEFT, SPOT_LEFT)]
    return [str(count), f"{count * disk:.2f}", f"{fixed:.2f}", *hours]


def spot_prices() -> str:
    """On demand and, as an estimate, spot: $ an hour of each type, by region."""
    rows = [
        f"| `{kind}` | {' | '.join(_prices(kind, region) for region in REGIONS)} |"
        for kind in sorted(VCPUS)
    ]
    head = " | ".join(("type", *REGIONS))
    return "\n".join([f"| {head} |", "|---|" + "---|" * len(REGIONS), *rows])


def _prices(kind: str, region: str) -> str:
    if region not in PRICES[kind]:
        return "none there"
    usual, spot = (PRICES[item][region].usd for item in (kind, spot_item(kind)))
    return f"{usual:.3f}, about {spot:.2f}"

"""What each surface that costs by use costs at most: a table of docs/costs.md."""

from components import pricing
from components.settings import Settings
from components.surfaces import surfaces, worst_lines, worst_usd_per_hour

REGION = "us-east-1"


def table() -> str:
    """A row for each surface of a stack with the default settings, dearest first."""
    settings = Settings.parse({"aws:region": REGION})
    usd = worst_usd_per_hour(pricing.bill(worst_lines(settings), REGION))
    rows = [
        f"| {each.name} | {each.bound} | {each.counted} | {usd[each.name]:.2f} |"
        for each in sorted(surfaces(settings), key=lambda each: -usd[each.name])
    ]
    head = "| surface | bounded by | counted by | $ an hour at most |"
    return "\n".join([head, "|---|---|---|---:|", *rows])

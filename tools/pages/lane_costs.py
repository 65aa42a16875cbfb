"""What the instant lane costs beside a node, by region: a table of docs/costs.md."""

from components import pricing
from components.costs import ANSWERS
from components.cpu_worker import answer_lines
from components.prices import REGIONS
from components.settings import Settings
from recording.evaluate import evaluate

HEAD = [
    "region",
    "€ an hour of the lane",
    "€ an hour of a node",
    "€ for 1,000 answers beyond the free tier",
    "answers under the cap with an image and disk of a node",
    "… with `gpu:wake` = never",
    "€ a month if it never rested",
]


def table() -> str:
    """A row for each region that has prices."""
    rows = [_row(region) for region in REGIONS]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [HEAD, ["---", *["---:"] * 6], *rows])


def _row(region: str) -> list[str]:
    settings = Settings.parse({"aws:region": region})
    lane, node = settings.lane_eur_per_hour, settings.gpu_eur_per_hour
    return [
        region,
        f"{lane:.3f}",
        f"{node:.3f}",
        f"{1000 * _eur_per_answer(settings):.2f}",
        *(f"{_answers(region, wake):,}" for wake in ("always", "never")),
        f"{lane * pricing.HOURS:.0f}",
    ]


def _eur_per_answer(settings: Settings) -> float:
    """List prices: no free tier."""
    priced = pricing.bill(answer_lines(settings.cpu), settings.region)
    return sum(row.line.quantity * row.price.usd for row in priced) / settings.costs.usd_per_eur


def _answers(region: str, wake: str) -> int:
    config = {"aws:region": region, "tl-fif:gpu": {"wake": wake}}
    return evaluate("dev", config=config).outputs[ANSWERS]

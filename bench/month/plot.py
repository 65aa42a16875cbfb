"""The simulated months as a picture: what was spent by the day, and what was published."""

from collections.abc import Sequence

from bench.month.load import load
from bench.month.world import Record
from tlfif.money.documents import Tariff

WIDTH, HEIGHT, LEFT, TOP, GAP = 300, 150, 40, 46, 34
COLUMNS, FIRST_DAY, LAST_DAY = 3, 0, 30
SPENT, PUBLISHED, CAP = "#1f6feb", "#d29922", "#cf222e"


def picture(tariff: Tariff, seeds: Sequence[int], records: Sequence[Record]) -> str:
    """An SVG with a panel a month: EUR over the days of the month."""
    down = -(-len(records) // COLUMNS)
    width = COLUMNS * (WIDTH + LEFT) + 20
    height = TOP + down * (HEIGHT + GAP)
    panels = [
        _panel(tariff, seed, record, number)
        for number, (seed, record) in enumerate(zip(seeds, records, strict=True))
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
        f'<text x="{LEFT}" y="18" font-size="14">Simulated months, € by the day: '
        f'<tspan fill="{SPENT}">really spent</tspan>, '
        f'<tspan fill="{PUBLISHED}">published (dashed)</tspan>, '
        f'<tspan fill="{CAP}">the cap</tspan>; grey: latched</text>'
    )
    return "\n".join([head, *panels, "</svg>\n"])


def _panel(tariff: Tariff, seed: int, record: Record, number: int) -> str:
    left = LEFT + number % COLUMNS * (WIDTH + LEFT)
    top = TOP + number // COLUMNS * (HEIGHT + GAP)
    cap = tariff.cap_usd / tariff.usd_per_eur
    highest = cap * 1.1

    def at(day: float, usd: float) -> str:
        x = left + (day - FIRST_DAY) / (LAST_DAY - FIRST_DAY) * WIDTH
        y = top + HEIGHT * (1 - usd / tariff.usd_per_eur / highest)
        return f"{x:.1f},{y:.1f}"

    month = [each for each in record.line if each[0] >= FIRST_DAY]
    latched = [each[0] for each in month if each[3]]
    grey = ""
    if latched:
        x = left + latched[0] / LAST_DAY * WIDTH
        wide = left + WIDTH - x
        grey = f'<rect x="{x:.1f}" y="{top}" width="{wide:.1f}" height="{HEIGHT}" fill="#eaeef2"/>'
    spent = " ".join(at(day, usd) for day, usd, _, _ in month)
    published = " ".join(at(day, usd) for day, _, usd, _ in month)
    y = top + HEIGHT * (1 - cap / highest)
    title = f"seed {seed}, {load(seed).profile}: €{record.spent_usd / tariff.usd_per_eur:.2f}"
    return "\n".join(
        [
            grey,
            f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" '
            'stroke="#d0d7de"/>',
            f'<text x="{left}" y="{top - 5}">{title}</text>',
            f'<text x="{left - 4}" y="{y + 4:.1f}" text-anchor="end" fill="{CAP}">{cap:.0f}</text>',
            f'<text x="{left - 4}" y="{top + HEIGHT}" text-anchor="end">0</text>',
            f'<line x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{CAP}"/>',
            f'<polyline points="{spent}" fill="none" stroke="{SPENT}" stroke-width="1.6"/>',
            f'<polyline points="{published}" fill="none" stroke="{PUBLISHED}" '
            'stroke-dasharray="3 3"/>',
        ]
    )

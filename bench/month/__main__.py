"""A month of money, many times: what is spent with all guards at work, and with only one of them.

What is counted and decided is decided by tlfif/money, as in the functions; what happens (people,
nodes, AWS's figures, faults) is simulated, minute by minute, from a seed (load.py).

    python -m bench.month [seeds [write]]

`write` puts the table and the picture into docs/. Ends with 1 if a month passed the cap by more
than €0.25, published a figure that is off by more than 2 %, or started a node after a latch.
"""

import argparse
import re
import sys
import time
from pathlib import Path

from bench.arguments import count
from bench.month.plot import picture
from bench.month.rows import failures, priced, table
from recording import kinds, shipped
from recording.evaluate import evaluate
from recording.model import Recording
from tlfif.money.documents import Tariff

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURE = DOCS / "costs.md", DOCS / "month.svg"
BLOCK = re.compile(r"<!-- month -->\n.*?<!-- /month -->", re.DOTALL)
SEEDS, SHOWN, STACK = 12, 6, "dev"


def main(count: int, *, write: bool) -> int:
    """Prints the table, and what it took."""
    began = time.perf_counter()
    if write:
        shipped.show()
    tariff, seeds = priced(tariff_of(evaluate(STACK))), range(count)
    text, records = table(tariff, seeds)
    print(text)
    print(f"{count} months a line, in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    worst = max(each.error for each in records)
    print(f"published figures were off by {worst:.1%} at most", file=sys.stderr)
    if write:
        PAGE.write_text(written(PAGE.read_text(), text))
        PICTURE.write_text(picture(tariff, seeds[:SHOWN], records[:SHOWN]))
    found = failures(tariff, seeds, records)
    print("\n".join(found), end="\n" if found else "", file=sys.stderr)
    return 1 if found else 0


def tariff_of(recording: Recording) -> Tariff:
    """What the program told the functions of its prices."""
    objects = recording.of_type(kinds.s3.BUCKET_OBJECT.token)
    return next(
        Tariff.parse(each.inputs["content"]) for each in objects if each.inputs["key"] == Tariff.KEY
    )


def written(page: str, text: str) -> str:
    """The page with this table."""
    return BLOCK.sub(lambda _: f"<!-- month -->\n{text}\n<!-- /month -->", page)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="?", type=count, default=SEEDS)
    parser.add_argument("write", nargs="?", choices=["write"])
    args = parser.parse_args()
    sys.exit(main(args.seeds, write=args.write == "write"))

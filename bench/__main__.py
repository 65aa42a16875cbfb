"""Runs one bench, or each of them briefly.

python -m bench [NAME [HOW_MANY [more ...]]]
"""

import argparse
import subprocess
import sys

from bench.arguments import count

# What each counts, and how many of it make a brief run.
BENCHES = {
    "worker": ("rounds", 2),
    "lane": ("rounds", 1),
    "bridge": ("rounds", 1),
    "idle_stops": ("stops", 20),
    "edge": ("calls", 200),
    "router": ("calls", 300),
    "queue": ("jobs", 2_000),
    "cold_start": ("repeats", 3),
    "publisher": ("calls", 100),
    "console": ("openings", 10),
    "month": ("seeds", 1),
    "weeks": ("weeks", 1),
}
# Which are in a folder of their own.
FRONTS = ("bridge", "console")


def main() -> int:
    """0 if every one ran to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHES, help="all of them without it")
    parser.add_argument(
        "how_many",
        nargs="?",
        type=count,
        help="rounds, stops, calls, jobs, repeats, openings, seeds, weeks",
    )
    parser.add_argument("more", nargs="*", help="what else the bench takes, options too")
    args, options = parser.parse_known_args()
    more = [*args.more, *options]
    if more and not args.name:
        parser.error(f"{' '.join(more)}: name the bench that takes it (BENCH=…) first")
    failed = 0
    for name in [args.name] if args.name else BENCHES:
        what, brief = BENCHES[name]
        # One that is named runs as its figures are published, unless told otherwise.
        number = args.how_many or (None if args.name else brief)
        print(f"== {name}" + (f", {number} {what}" if number else ""), flush=True)
        module = f"bench.fronts.{name}" if name in FRONTS else f"bench.{name}"
        argv = [sys.executable, "-m", module, *([str(number)] if number else []), *more]
        failed += subprocess.run(argv).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""The command line of a bench: how many of what, and what else it takes."""

import argparse


def count(text: str) -> int:
    """How many, at least 1; raises argparse's error for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is no number from 1 on")
    return int(text)


def how_many(description: str | None, of: str, default: int) -> int:
    """How many rounds, calls, … (`of`) the command line asks for; argparse ends the process when it
    is wrong.
    """
    parser = argparse.ArgumentParser(description=description)
    usual = "%(default)s"
    parser.add_argument(of, nargs="?", type=count, default=default, help=f"default: {usual}")
    return getattr(parser.parse_args(), of)

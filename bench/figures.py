"""Percentiles and tables for the benches."""

import statistics
from collections.abc import Sequence


def percentiles(samples_ms: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of durations in ms."""
    cuts = statistics.quantiles(samples_ms, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}


def table(rows: dict[str, dict[str, float]], floor: str | None = None) -> str:
    """One line per case; with a floor, each p95 as its multiple too."""
    lines = [
        f"{'':28} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8}" + ("   p95/floor" if floor else "")
    ]
    for name, each in rows.items():
        ratio = f"   {each['p95'] / rows[floor]['p95']:9.2f}" if floor else ""
        lines.append(f"{name:28} {each['p50']:8.2f} {each['p95']:8.2f} {each['p99']:8.2f}{ratio}")
    return "\n".join(lines)

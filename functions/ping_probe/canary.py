"""The probe's questions as a CloudWatch Synthetics canary, whose runs fail by an exception."""

import os

from ping_probe.handler import ROUTES, well


def handler(event: object, context: object) -> None:
    """The canary's entry point; raises RuntimeError naming the routes that are not well."""
    base = os.environ["TLFIF_API_URL"]
    failing = [route for route, field in ROUTES.items() if not well(base + route, field)]
    if failing:
        raise RuntimeError(f"not well: {', '.join(failing)}")

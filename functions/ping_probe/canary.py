"""The probe's questions as a CloudWatch Synthetics canary, whose runs fail by an exception."""

from ping_probe.handler import ROUTES, well
from tlfif.environment import Canary


def handler(event: object, context: object) -> None:
    """The canary's entry point; raises RuntimeError naming the routes that are not well."""
    base = Canary.read().api_url
    failing = [route for route, field in ROUTES.items() if not well(base + route, field)]
    if failing:
        raise RuntimeError(f"not well: {', '.join(failing)}")

"""Stands in until the instant lane's function is merged."""

from typing import Any


def handler(event: Any, context: Any) -> None:
    """Does nothing."""

"""When the canary runs, in Synthetics' own words."""

import pytest

from components.canary import schedule


@pytest.mark.story("API-005")
@pytest.mark.parametrize(
    ("minutes", "expression"),
    [
        (1, "rate(1 minute)"),
        (5, "rate(5 minutes)"),
        (60, "rate(1 hour)"),
        (120, "cron(0 */2 * * ? *)"),
        (8 * 60, "cron(0 */8 * * ? *)"),
        (24 * 60, "cron(0 0 * * ? *)"),
    ],
)
def test_a_schedule_is_one_that_synthetics_takes(minutes: int, expression: str) -> None:
    assert schedule(minutes) == expression


@pytest.mark.parametrize("minutes", [-60, 0, 61, 90, 5 * 60, 25 * 60, 48 * 60])
def test_a_schedule_that_synthetics_cannot_say_is_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match=f"every_minutes = {minutes}: a canary runs every 1 to 60"):
        schedule(minutes)

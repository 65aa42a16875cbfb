"""Why weights do not come: one line for whoever deploys, and what to do about it."""

from collections.abc import Callable

# Left of the function's time when it stops, so that what is under way ends and the answer is given.
RESERVE_S = 20.0


class Refusal(Exception):
    """The weights are not there after this run; the message is one line with the fix."""


class Vanished(Exception):
    """Another run, or a person, has taken away what this one was working on: look again."""


class Clock:
    """The function's time: `left_ms` is Lambda's, in milliseconds."""

    def __init__(self, left_ms: Callable[[], float]) -> None:
        self._left_ms = left_ms

    def check(self) -> None:
        """Raises Refusal when there is no time for more than an answer."""
        if self._left_ms() < RESERVE_S * 1000:
            raise Refusal(
                "the function's time was too short; what has arrived is kept, and the next call "
                "goes on from there: within the hour, or at once by make model"
            )

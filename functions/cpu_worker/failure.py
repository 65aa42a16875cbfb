"""Why the lane is of no use, in a line that says how to mend it."""

from tlfif import names


class LaneFailure(Exception):
    """More calls would not mend it: `code` for programs, `message` for people (GET /status).

    `for_s`: how long nobody is to try.
    """

    for_s = names.LANE_FAILURE_TTL_S

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message


class WeightsFailure(LaneFailure):
    """The bucket has no weights, or wrong ones: they are brought from outside, at any moment."""

    for_s = names.LANE_WEIGHTS_TTL_S


class LaneInterrupted(Exception):
    """S3 or the queue does not answer: another call may do better."""

"""Why the lane is of no use, in a line that says how to mend it."""


class LaneFailure(Exception):
    """More calls would not mend it: `code` for programs, `message` for people (GET /status)."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message


class LaneInterrupted(Exception):
    """S3 or the queue does not answer: another call may do better."""

"""Says when a node may rest; it acts on nothing, never sleeps, and is handed its clock."""


class IdleTimer:
    """Counts from the last moment there was something to do, in seconds of one monotonic clock.

    A job sets how long the node waits after it; the next job sets it anew.
    """

    def __init__(self, idle_s: float, now: float):
        self._idle_s = idle_s
        self._since = now

    def busy(self, now: float) -> None:
        """A lease is held or the model loads: counting starts again."""
        self._since = now

    def job_ended(self, now: float, idle_s: float | None) -> None:
        """A job is over that asked for `idle_s`; None: it had expired and could not say."""
        self._since = now
        if idle_s is not None:
            self._idle_s = idle_s

    def due(self, now: float) -> bool:
        """Whether the node has been idle long enough."""
        return now - self._since >= self._idle_s

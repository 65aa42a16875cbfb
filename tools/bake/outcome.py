"""How a bake ends: exit codes, and the error that carries one."""

PUBLISHED, FAILED, REFUSED, TIMED_OUT, BUSY, INTERRUPTED = 0, 1, 2, 3, 4, 130


class BakeError(RuntimeError):
    """No image was published; the message says why and what to do, `code` is the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

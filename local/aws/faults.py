"""What tests make go wrong between a caller and AWS."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

from local.aws.errors import AwsError


class NoAnswerError(Exception):
    """The client gets no answer: its connection hangs, or is reset."""

    def __init__(self, *, hangs: bool):
        super().__init__()
        self.hangs = hangs


@dataclass(eq=False)
class Fault:
    """What goes wrong with calls of `service` and `operation` (`*`: all), for one role or
    everybody, `times` times.

    `delay_s` comes first; then an error (`status` and `code`), a `hang`, a `reset` or, if none is
    given, the answer. `after`: the call takes effect before that, and only its answer suffers.
    `times` None: until it is removed. `falls_back`: StartInstances answers well, and then the
    instances stop again, with this as the code of their StateReason.
    """

    service: str
    operation: str = "*"
    _: KW_ONLY
    role_arn: str | None = None
    status: int | None = None
    code: str = ""
    message: str = "injected"
    delay_s: float = 0.0
    hang: bool = False
    reset: bool = False
    after: bool = False
    falls_back: str = ""
    times: int | None = 1

    def __post_init__(self) -> None:
        if (self.status is None) != (self.code == ""):
            raise ValueError(
                f"a fault's error needs both status and code, got {self.status!r} and {self.code!r}"
            )
        if sum((self.status is not None, self.hang, self.reset)) > 1:
            raise ValueError(f"a fault is one of an error, a hang and a reset: {self!r}")

    def hits(self, service: str, operation: str, role_arn: str | None) -> bool:
        """Whether such a call suffers it."""
        return (
            self.times != 0
            and self.service == service
            and self.operation in ("*", operation)
            and self.role_arn in (None, role_arn)
        )

    async def strike(self) -> None:
        """Lets a call suffer it: waits, then perhaps raises AwsError or NoAnswerError."""
        await asyncio.sleep(self.delay_s)
        if self.hang or self.reset:
            raise NoAnswerError(hangs=self.hang)
        if self.status is not None:
            raise AwsError(self.status, self.code, self.message)


class Faults:
    """The faults in force; the oldest that fits a call hits it."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        self._faults.remove(fault)

    def clear(self) -> None:
        self._faults.clear()

    @contextlib.contextmanager
    def injected(self, fault: Fault) -> Iterator[Fault]:
        """The fault in force within a block."""
        self.add(fault)
        try:
            yield fault
        finally:
            self.remove(fault)

    def take(self, service: str, operation: str, role_arn: str | None) -> Fault | None:
        """The fault that hits this call, counted."""
        for fault in self._faults:
            if fault.hits(service, operation, role_arn):
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

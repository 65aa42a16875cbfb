"""Ctrl-C and whoever else ends the command: raised where it may be, and kept back while a prompt is
being posted, whose id is needed to cancel it.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
_LOOK_S = 0.3


class Stopped(KeyboardInterrupt):
    """Somebody ends this; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__()

    @property
    def is_ctrl_c(self) -> bool:
        return self.number == signal.SIGINT

    @property
    def code(self) -> int:
        """The exit code, as a shell counts it: 130 of Ctrl-C."""
        return 128 + self.number


class Stops:
    """Handles the signals while it is entered: each raises Stopped, the first of a turn perhaps
    later, and after the second the system's own handling is back. `told` is called when one is
    kept back.
    """

    def __init__(self) -> None:
        self.told: Callable[[], object] = lambda: None
        self._before: dict[int, Any] = {}
        self._count = 0
        self._holding = False
        self._kept: int | None = None

    def __enter__(self) -> "Stops":
        # Who ignores a signal, as nohup does, goes on doing so; and only the main thread may.
        with suppress(ValueError):
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def again(self) -> None:
        """A new turn, whose first signal is a first one."""
        self._count, self._kept = 0, None
        for number in self._before:
            signal.signal(number, self._on)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps the first signal back until the end of this, where it is raised."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
            if self._kept is not None:
                number, self._kept = self._kept, None
                raise Stopped(number)

    @contextmanager
    def looked_for(self) -> Iterator[None]:
        """While readline waits for a key it hears of a signal that interrupts it, and of one that
        came a moment before at the next key only: an alarm interrupts it again and again.
        """
        if not self._before or not hasattr(signal, "setitimer"):
            yield
            return
        before = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, _LOOK_S, _LOOK_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _on(self, number: int, _: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            # Whatever comes now ends the process.
            for each in self._before:
                signal.signal(each, signal.SIG_DFL)
        elif self._holding:
            self._kept = number
            # It may come in the middle of another word.
            with suppress(RuntimeError):
                self.told()
            return
        self._kept = None
        raise Stopped(number)

"""What a watcher must remember over its own restart, in a file that a new boot does not see.

Standard library only: a new process reads it before anything that may crash.
"""

import contextlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tlfif import names

FOLDER = "/run/tl-fif/watcher"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """How a node stood at a moment; times in s, moments on the machine's monotonic clock.

    - `at`: when this was so
    - `idled_s`, `obstructed_s`: as `resting.Policy` counts them
    - `wish_s`: how long the last job asked the node to wait; None: there was none
    - `obstructed`: whether it could take no job then
    - `give_up_at`: when the machine has to be off, should nobody come to write this anew
    """

    at: float
    give_up_at: float
    idled_s: float = 0.0
    obstructed_s: float = 0.0
    wish_s: float | None = None
    obstructed: bool = True


def first(environ: Mapping[str, str], now: float) -> Memory:
    """Of a boot's first watcher, which knows no settings yet: its allowance is counting already."""
    minutes = environ.get("TLFIF_BOOT_ALLOWANCE_MINUTES") or names.DEFAULT_BOOT_ALLOWANCE_MINUTES
    return Memory(at=now, give_up_at=now + 60 * float(minutes))


class Store:
    """Keeps a `Memory` in a folder; one that cannot be read or written is as good as none."""

    def __init__(self, environ: Mapping[str, str], boot: str | None = None):
        """`boot` names the machine's boot; None: as its kernel does."""
        self._file = Path(environ.get("TLFIF_STATE_FOLDER") or FOLDER) / "memory.json"
        self._boot = kernels_boot() if boot is None else boot

    def load(self, now: float) -> Memory | None:
        """What a watcher of this boot left; None: none did, or it makes no sense."""
        try:
            document = json.loads(self._file.read_text())
            boot, memory = document.pop("boot"), Memory(**document)
            # A later moment is another machine's, or an earlier boot's.
            return memory if boot == self._boot and memory.at <= now and _is_sane(memory) else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def save(self, memory: Memory) -> None:
        """Writes all of it or, when the folder is not there, nothing."""
        text = json.dumps({"boot": self._boot, **asdict(memory)})
        partial = self._file.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            partial.write_text(text)
            partial.replace(self._file)


def _is_sane(memory: Memory) -> bool:
    """Raises TypeError for what is no number."""
    wish_s = 0.0 if memory.wish_s is None else memory.wish_s
    counted = (memory.at, memory.idled_s, memory.obstructed_s, wish_s)
    return all(0 <= each < math.inf for each in counted) and math.isfinite(memory.give_up_at)


def kernels_boot() -> str:
    """The kernel's name for this boot; '' where it has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""

"""What a provider has made, written down at once: a CLI that is killed never hears of some of it.

On AWS such resources stay until somebody finds them by their tags; here they are removed before
the next command.
"""

import contextlib
import fcntl
import json
import threading
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import IO, Any

Remove = Callable[[str, str, dict[str, Any]], None]


class Journal:
    """A file of JSON lines, one for each resource made; open while its provider runs."""

    def __init__(self, path: Path) -> None:
        self._file = _locked(path)
        self._writing = threading.Lock()

    def made(self, type_: str, id_: str, outputs: dict[str, Any]) -> None:
        """Notes a resource that is there now."""
        line = json.dumps({"type": type_, "id": id_, "outputs": outputs})
        with self._writing:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        """Lets the next one have the file."""
        self._file.close()


def remove_orphans(path: Path, known: Set[tuple[str, str]], remove: Remove) -> None:
    """Removes what was made and is not known, by (type, id), newest first, and empties the journal.

    Waits until the provider that writes it has ended.
    """
    with contextlib.closing(_locked(path)) as file:
        file.seek(0)
        made = list(_entries(file))
        for each in reversed(made):
            if (each["type"], each["id"]) not in known:
                remove(each["type"], each["id"], each["outputs"])
        file.truncate(0)


def _locked(path: Path) -> IO[str]:
    file = path.open("a+")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _entries(lines: IO[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        # The last line may be half a one.
        with contextlib.suppress(ValueError):
            yield json.loads(line)

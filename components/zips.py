"""The one way to write a zip: the same files give the same bytes, and the file appears whole."""

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

_ENTRY_DATE = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = 0o100644


def packed(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these files: sorted by name, with one date and one mode for all."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _ENTRY_DATE)
            entry.external_attr = _PLAIN_FILE << 16
            entry.compress_type = compression
            zipped.writestr(entry, data)
    return content.getvalue()


def write(path: Path, content: bytes) -> None:
    """Writes a file beside `path` and moves it there: the program may run several times at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".zip-", delete=False) as file:
        file.write(content)
    # A temporary file is its owner's alone; what is built is for whoever runs it.
    Path(file.name).chmod(_PLAIN_FILE & 0o777)
    Path(file.name).replace(path)

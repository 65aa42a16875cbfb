"""What an image has of ours: one zip of the packages that run on a node, named by its content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from components import zips
from components.bundle import sources
from components.packages import ROOT

PACKAGES = ("tlfif", "worker", "gpu_image")


@dataclass(frozen=True, kw_only=True)
class Software:
    """A zip whose root has PACKAGES, and the SHA-256 of its bytes in hexadecimal."""

    path: Path
    sha256: str


def zipped(root: Path = ROOT) -> Software:
    """The zip of this checkout, written unless it is there: the same sources give the same bytes.

    Stored and not compressed, so that no zlib's version decides them; it has some 100 kB.
    """
    content = zips.packed(sources(*(root / name for name in PACKAGES)))
    sha256 = hashlib.sha256(content).hexdigest()
    path = root / "dist" / "image" / f"software-{sha256[:16]}.zip"
    if not path.exists():
        zips.write(path, content)
    return Software(path=path, sha256=sha256)

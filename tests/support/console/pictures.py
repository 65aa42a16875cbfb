"""Screenshots small enough for a repository."""

import io
from pathlib import Path

from PIL import Image

COLOURS = 128


def keep(png: bytes, path: Path) -> None:
    """Writes a screenshot with few colours: the page has no more."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)

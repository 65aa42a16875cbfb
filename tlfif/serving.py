"""What a node's engine serves, on which GPU, and the arguments of vLLM that follow from both.

The image has the model as `model.json` (MODEL_FILE); the node knows its GPU at boot. Nothing here
asks the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tlfif import names

# Where the image has everything; model/ below it is the weights and, for GGUF, tokenizer/.
ROOT = Path("/srv/tl-fif")
MODEL_FILE = ROOT / "model.json"
MODEL_FOLDER = ROOT / "model"

HUB = "https://huggingface.co"

# What vLLM reads of prompts in one step.
BATCHED_TOKENS = 2_048

Format = Literal["gguf", "safetensors"]
KvCache = Literal["auto", "fp8"]
Capability = tuple[int, int]

# Compute capabilities: tensor cores with bfloat16 and FlashAttention; with FP8.
AMPERE: Capability = (8, 0)
ADA: Capability = (8, 9)


class Model(BaseModel):
    """The model that an image was baked with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Where the repositories are.
    hub: str = HUB
    repository: str
    revision: str
    # The weights' file and its SHA-256; both "" where the format is a whole repository's, whose
    # content its revision names.
    file: str
    sha256: str
    format: Format
    served_name: str
    context_tokens: int
    # GGUF lacks a tokenizer and a config that vLLM reads: the base model's repository, pinned.
    tokenizer: str = ""
    tokenizer_revision: str = ""
    # auto: as the weights are computed with.
    kv_cache: KvCache = "auto"


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU as an instance type has it; `name` is what the driver calls it.

    Of the `memory_gb` on its data sheet, a process sees `usable_gib`, in units of 2^30 bytes, and
    vLLM takes the share `utilisation` of those.
    """

    name: str
    memory_gb: float
    usable_gib: float
    capability: Capability
    utilisation: float = 0.9

    @property
    def room(self) -> int:
        """What vLLM has for weights, KV cache and everything else, in bytes."""
        return int(self.usable_gib * 2**30 * self.utilisation)


T4 = Gpu(name="Tesla T4", memory_gb=16, usable_gib=14.56, capability=(7, 5), utilisation=0.85)
A10G = Gpu(name="NVIDIA A10G", memory_gb=24, usable_gib=21.9, capability=(8, 6))
L4 = Gpu(name="NVIDIA L4", memory_gb=24, usable_gib=21.9, capability=ADA)
# An eighth of an L4: a virtual GPU, whose driver is NVIDIA's GRID driver and no other.
L4_EIGHTH = Gpu(name="NVIDIA L4-3Q", memory_gb=3, usable_gib=2.79, capability=ADA, utilisation=0.85)
GPUS = (T4, A10G, L4, L4_EIGHTH)


def gpu_named(name: str) -> Gpu:
    """The GPU that the driver calls so; an unknown one is taken for the oldest, whose arguments
    work on all.
    """
    return next((gpu for gpu in GPUS if gpu.name == name), T4)


def baked(path: Path = MODEL_FILE) -> Model | None:
    """The model of this machine's image; None where there is no image's. Raises ValueError."""
    return Model.model_validate_json(path.read_text()) if path.is_file() else None


def arguments(model: Model, gpu: Gpu, folder: Path = MODEL_FOLDER) -> Sequence[str]:
    """What follows `vllm serve`, but for the host and port."""
    return [
        *_weights(model, folder),
        *("--served-model-name", model.served_name),
        *_precision(model, gpu),
        # Compiling and capturing graphs would take longer than anything else of a boot.
        "--enforce-eager",
        *("--max-model-len", str(model.context_tokens)),
        *("--max-num-seqs", str(names.ENGINE_SEQUENCES)),
        *("--max-num-batched-tokens", str(BATCHED_TOKENS)),
        *("--gpu-memory-utilization", f"{gpu.utilisation:g}"),
        *("--generation-config", "vllm"),
    ]


def _weights(model: Model, folder: Path) -> list[str]:
    if model.format == "safetensors":
        return [str(folder)]
    tokenizer = str(folder / "tokenizer")
    return [str(folder / model.file), "--tokenizer", tokenizer, "--hf-config-path", tokenizer]


def _precision(model: Model, gpu: Gpu) -> list[str]:
    """The number formats, and who computes attention.

    Before Ampere there is no bfloat16, and vLLM would choose FlashInfer, which compiles its kernels
    at each start; so it would for an FP8 cache on Ada, where FlashAttention has none.
    """
    old, small_cache = gpu.capability < AMPERE, model.kv_cache == "fp8"
    half = old or model.format == "gguf"
    return [
        *("--dtype", "half" if half else "auto"),
        *(("--attention-backend", "TRITON_ATTN") if old or small_cache else ()),
        *(("--kv-cache-dtype", "fp8") if small_cache else ()),
    ]

"""The models that a stack can name: what each is made of, where its weights are, pinned, and what
it costs in memory.

Every pin was read in at least two public projects that use it, never guessed. Sizes are of the
weights' files; those marked ~ are reckoned from parameters and formats.
"""

from dataclasses import dataclass
from typing import Literal

from tlfif.serving import Format

PresetName = Literal[
    "tinyllama",
    "qwen2.5-1.5b",
    "qwen3-1.7b",
    "smollm3-3b",
    "llama-3.2-3b",
    "qwen3-4b-awq",
    "qwen3-8b-fp8",
]
# In which numbers the weights are: 4-bit blocks of a GGUF, half precision, AWQ's 4 bits, FP8.
Numbers = Literal["Q4", "16-bit", "AWQ", "FP8"]
APACHE = "Apache-2.0"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Files of a repository at one commit: a GGUF by its name and SHA-256, or all of them, whose
    content the commit names.
    """

    repository: str
    revision: str
    size_bytes: int
    file: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What decides how much of the KV cache a token takes, and the longest context."""

    layers: int
    kv_heads: int
    head_dim: int
    longest_context: int

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token, in half precision."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model; `lane` is the GGUF by which the instant lane serves the same one, None where it is
    too large for a new account's function.

    `tokenizer` and its revision are a GGUF's, from the base model's repository.
    """

    name: PresetName
    parameters: float
    numbers: Numbers
    shape: Shape
    weights: Weights
    licence: str = APACHE
    lane: Weights | None = None
    tokenizer: str | None = None
    tokenizer_revision: str | None = None

    @property
    def format(self) -> Format:
        """The files' format."""
        return "gguf" if self.weights.file else "safetensors"


_TINYLLAMA_GGUF = Weights(
    repository="TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF",
    file="tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf",
    revision="52e7645ba7c309695bec7ac98f4f005b139cf465",
    sha256="9fecc3b3cd76bba89d504f29b616eedf7da85b96540e490ca5824d3f7d2776a0",
    size_bytes=668_788_096,
)
_LIST = [
    Preset(
        name="tinyllama",
        parameters=1.10e9,
        numbers="Q4",
        shape=Shape(layers=22, kv_heads=4, head_dim=64, longest_context=2_048),
        weights=_TINYLLAMA_GGUF,
        lane=_TINYLLAMA_GGUF,
        tokenizer="TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        tokenizer_revision="fe8a4ea1ffedaf415f4da2f062534de366a451e6",
    ),
    Preset(
        name="qwen2.5-1.5b",
        parameters=1.54e9,
        numbers="16-bit",
        shape=Shape(layers=28, kv_heads=2, head_dim=128, longest_context=32_768),
        weights=Weights(
            repository="Qwen/Qwen2.5-1.5B-Instruct",
            revision="989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
            size_bytes=3_087_467_144,
        ),
        lane=Weights(
            repository="Qwen/Qwen2.5-1.5B-Instruct-GGUF",
            file="qwen2.5-1.5b-instruct-q4_k_m.gguf",
            revision="91cad51170dc346986eccefdc2dd33a9da36ead9",
            sha256="6a1a2eb6d15622bf3c96857206351ba97e1af16c30d7a74ee38970e434e9407e",
            size_bytes=1_117_320_736,
        ),
    ),
    Preset(
        name="qwen3-1.7b",
        parameters=2.03e9,
        numbers="16-bit",
        shape=Shape(layers=28, kv_heads=8, head_dim=128, longest_context=40_960),
        weights=Weights(
            repository="Qwen/Qwen3-1.7B",
            revision="70d244cc86ccca08cf5af4e1e306ecf908b1ad5e",
            size_bytes=4_063_479_808,
        ),
        lane=Weights(
            repository="unsloth/Qwen3-1.7B-GGUF",
            file="Qwen3-1.7B-Q4_K_M.gguf",
            revision="d7f544eead698dbd1f15126ef60b45a1e1933222",
            sha256="b139949c5bd74937ad8ed8c8cf3d9ffb1e99c866c823204dc42c0d91fa181897",
            size_bytes=1_107_409_472,
        ),
    ),
    Preset(
        name="smollm3-3b",
        parameters=3.08e9,
        numbers="16-bit",
        shape=Shape(layers=36, kv_heads=4, head_dim=128, longest_context=65_536),
        weights=Weights(
            repository="HuggingFaceTB/SmolLM3-3B",
            revision="a07cc9a04f16550a088caea529712d1d335b0ac1",
            size_bytes=6_150_197_248,
        ),
        lane=Weights(
            repository="ggml-org/SmolLM3-3B-GGUF",
            file="SmolLM3-Q4_K_M.gguf",
            revision="4965cb60b150737b68a0408c36aeefb65078f894",
            sha256="8334b850b7bd46238c16b0c550df2138f0889bf433809008cc17a8b05761863e",
            size_bytes=1_915_305_312,
        ),
    ),
    Preset(
        name="llama-3.2-3b",
        parameters=3.21e9,
        numbers="16-bit",
        shape=Shape(layers=28, kv_heads=8, head_dim=128, longest_context=131_072),
        # A copy: Meta's own repository wants an account that has accepted the licence.
        weights=Weights(
            repository="unsloth/Llama-3.2-3B-Instruct",
            revision="006f5dcd1393c3add266de40994ba96225e9689d",
            size_bytes=6_425_499_648,
        ),
        licence="Llama 3.2 Community License",
        lane=Weights(
            repository="bartowski/Llama-3.2-3B-Instruct-GGUF",
            file="Llama-3.2-3B-Instruct-Q4_K_M.gguf",
            revision="c346bfc2029e79ba6d7edf026cf01fe44242db0d",
            sha256="6c1a2b41161032677be168d354123594c0e6e67d2b9227c84f296ad037c728ff",
            size_bytes=2_019_377_696,
        ),
    ),
    Preset(
        name="qwen3-4b-awq",
        parameters=4.02e9,
        numbers="AWQ",
        shape=Shape(layers=36, kv_heads=8, head_dim=128, longest_context=40_960),
        weights=Weights(
            repository="Qwen/Qwen3-4B-AWQ",
            revision="74d4bd2bd4bff9cafc9345221320bffb08b406a3",
            size_bytes=2_670_000_000,  # ~
        ),
    ),
    Preset(
        name="qwen3-8b-fp8",
        parameters=8.19e9,
        numbers="FP8",
        shape=Shape(layers=36, kv_heads=8, head_dim=128, longest_context=40_960),
        weights=Weights(
            repository="Qwen/Qwen3-8B-FP8",
            revision="220b46e3b2180893580a4454f21f22d3ebb187d3",
            size_bytes=9_440_000_000,  # ~
        ),
    ),
]
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _LIST}
DEFAULT = PRESETS["tinyllama"]

# What a token of an unknown model is taken for: the most of those above.
MOST_TOKEN_BYTES = max(preset.shape.token_bytes for preset in _LIST)

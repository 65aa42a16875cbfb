"""Whether a model fits a GPU: what it takes of the memory, and what the GPU's generation can do.

The memory that vLLM takes is known only when it has started; this is the arithmetic before.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components import prices
from components.gpus import gpu_of, needs_own_image
from components.models import MOST_TOKEN_BYTES, PRESETS
from components.settings_groups import CpuSettings, GpuSettings
from components.settings_model import ModelSettings
from tlfif import names
from tlfif.serving import ADA, AMPERE, Gpu

# CUDA's own, and what a step of 2,048 tokens computes with; an estimate.
REST_BYTES = 1_000_000_000
# Of an image beside the weights: vLLM's environment has 10.4 GB, Ubuntu, driver and caches 5 more.
REST_OF_IMAGE_GB = 16
# Of the instant lane: Python and the engine beside weights and cache, and what its disk keeps free
# (functions/cpu_worker/weights.py). Lambda's own megabytes are of 2^20 bytes.
LANE_REST_BYTES, LANE_SPARE_BYTES, LARGEST_LANE_MB = 500_000_000, 16 << 20, 10_240
# Shared memory of a multiprocessor before Ampere does not hold the tiles of wider heads.
WIDEST_HEAD_BEFORE_AMPERE = 256


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a model takes of a GPU's memory, in bytes; `weights` is None where nobody said it."""

    weights: int | None
    cache: int

    @property
    def total(self) -> int:
        """All of it, with unknown weights as if they took nothing."""
        return (self.weights or 0) + self.cache + REST_BYTES


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """Why a model cannot be served: the keys at fault, the reason, and what would mend it, as
    (key, value), the nearest first.
    """

    keys: tuple[str, ...]
    why: str
    ways: tuple[tuple[str, str], ...]


def token_bytes(model: ModelSettings) -> int:
    """What a token takes in the nodes' KV cache; of an unknown model, the most of all presets'."""
    known = model.known.shape.token_bytes if model.known else MOST_TOKEN_BYTES
    return known // 2 if model.kv_cache == "fp8" else known


def need(model: ModelSettings, slots: int) -> Need:
    """What `slots` sequences take that each use their whole context."""
    cache = slots * model.context_length * token_bytes(model)
    return Need(weights=model.size_bytes, cache=cache)


def reason(model: ModelSettings, gpu: Gpu, slots: int) -> str:
    """Why it cannot be served; '' where it can, as far as is known."""
    too_long = too_long_context(model)
    return too_long.why if too_long else _incapable(model, gpu) or _too_large(model, gpu, slots)


def obstacle(model: ModelSettings, gpu: GpuSettings, region: str) -> Obstacle | None:
    """What is in the way of these nodes; None when nothing is, as far as is known."""
    if too_long := too_long_context(model):
        return too_long
    this = gpu_of(gpu.instance_type)
    if why := _incapable(model, this):
        keys = ("model:preset", "gpu:instanceType")
        ways = [*_plain_cache(model, this, gpu), *_others(model, gpu, region)]
        return Obstacle(keys=keys, why=why, ways=tuple(ways))
    if why := _too_large(model, this, gpu.slots):
        keys = ("model:preset", "gpu:instanceType", "gpu:slots", "model:contextLength")
        ways = [*_smaller(model, this, gpu.slots), *_others(model, gpu, region)]
        return Obstacle(keys=keys, why=why, ways=tuple(ways))
    return None if gpu.ami_id else _fuller_disk(model, gpu)


def _fuller_disk(model: ModelSettings, gpu: GpuSettings) -> Obstacle | None:
    """Weights that nobody said the size of count as nothing."""
    image_gb = math.ceil(REST_OF_IMAGE_GB + (model.size_bytes or 0) / 1e9)
    if image_gb <= gpu.disk_gb:
        return None
    why = f"the image takes {image_gb} GB of a disk with these weights"
    ways = (("gpu:diskGb", str(image_gb)),)
    return Obstacle(keys=("model:preset", "gpu:diskGb"), why=why, ways=ways)


def too_long_context(model: ModelSettings) -> Obstacle | None:
    """What is in the way of the context, whoever serves the model."""
    longest = model.known.shape.longest_context if model.known else model.context_length
    if model.context_length <= longest:
        return None
    others = (p for p in PRESETS.values() if p.shape.longest_context >= model.context_length)
    smallest = min(others, key=lambda preset: preset.parameters, default=None)
    return Obstacle(
        keys=("model:preset", "model:contextLength"),
        why=f"the model was made for {longest:,} tokens",
        ways=(
            ("model:contextLength", str(longest)),
            *((("model:preset", smallest.name),) if smallest else ()),
        ),
    )


def lane_obstacle(model: ModelSettings, cpu: CpuSettings) -> Obstacle | None:
    """What is in the way of the instant lane; None when nothing is, as far as is known."""
    size = model.lane.size_bytes if model.lane else None
    if size is None:
        return None
    disk_mb = _mib(size + LANE_SPARE_BYTES)
    if disk_mb > cpu.disk_mb:
        why = f"the instant lane's weights are {_gb(size)}, which want a disk of {disk_mb:,} MB"
        return _lane("cpu:diskMb", disk_mb, why)
    # The lane's cache is in half precision, whatever the nodes' is.
    token = model.known.shape.token_bytes if model.known else MOST_TOKEN_BYTES
    cache = cpu.slots * model.context_length * token
    memory_mb = _mib(size + cache + LANE_REST_BYTES)
    if memory_mb > cpu.memory_mb:
        why = (
            f"the instant lane takes {memory_mb:,} MB: weights {_gb(size)}, KV cache {_gb(cache)} "
            f"({cpu.slots} of {model.context_length:,} tokens, {token:,} bytes each), the rest "
            f"{_gb(LANE_REST_BYTES)}"
        )
        return _lane("cpu:memoryMb", memory_mb, why)
    return None


def _lane(key: str, megabytes: int, why: str) -> Obstacle:
    """More of it, if Lambda has so much, or no lane."""
    rounded = math.ceil(megabytes / 64) * 64
    more = ((key, str(rounded)),) if rounded <= LARGEST_LANE_MB else ()
    return Obstacle(keys=("model:preset", key), why=why, ways=(*more, ("cpu:enabled", "false")))


def told(model: ModelSettings, gpu: GpuSettings) -> str:
    """What it takes of the memory, in a line; with what was assumed of an unknown model."""
    this, takes = gpu_of(gpu.instance_type), need(model, gpu.slots)
    room = f"{_gb(this.room)} that vLLM may have of the {this.name}"
    if takes.weights is None:
        left = _gb(max(0, this.room - takes.total))
        return (
            f"assumed to fit: up to {left} of weights do (model:sizeGb says what they are), of the "
            f"{room}; {_shares(model, gpu.slots)}, a token as large as in the largest preset"
        )
    return f"{_gb(takes.total)} of the {room}: {_shares(model, gpu.slots)}"


def _shares(model: ModelSettings, slots: int) -> str:
    takes = need(model, slots)
    weights = "" if takes.weights is None else f"weights {_gb(takes.weights)}, "
    sequences = f"{slots} of {model.context_length:,} tokens, {token_bytes(model):,} bytes each"
    return f"{weights}KV cache {_gb(takes.cache)} ({sequences}), the rest {_gb(REST_BYTES)}"


def _too_large(model: ModelSettings, gpu: Gpu, slots: int) -> str:
    takes = need(model, slots)
    if takes.total <= gpu.room:
        return ""
    return (
        f"it takes {_gb(takes.total)} ({_shares(model, slots)}), and vLLM may have "
        f"{_gb(gpu.room)} of the {gpu.name}"
    )


def _incapable(model: ModelSettings, gpu: Gpu) -> str:
    """What the GPU's generation cannot do, by vLLM 0.19.1, which the image has."""
    has = f"the {gpu.name} has {'.'.join(map(str, gpu.capability))}"
    if model.kv_cache == "fp8" and gpu.capability < ADA:
        return f"an FP8 KV cache (model:kvCache) wants compute capability 8.9, {has}"
    if model.known is None or gpu.capability >= AMPERE:
        return ""
    if model.known.numbers == "FP8":
        return f"weights in FP8 want compute capability 8.0, {has}"
    if model.known.shape.head_dim > WIDEST_HEAD_BEFORE_AMPERE:
        return f"heads of {model.known.shape.head_dim} want compute capability 8.0, {has}"
    return ""


def _plain_cache(model: ModelSettings, this: Gpu, gpu: GpuSettings) -> Iterator[tuple[str, str]]:
    plain = model.model_copy(update={"kv_cache": "auto"})
    if model.kv_cache != "auto" and not reason(plain, this, gpu.slots):
        yield "model:kvCache", "auto"


def _smaller(model: ModelSettings, this: Gpu, slots: int) -> Iterator[tuple[str, str]]:
    """Fewer sequences, shorter ones, smaller numbers: what is enough by itself."""
    left = this.room - need(model, 0).total
    fewer = left // (model.context_length * token_bytes(model))
    if fewer >= 1:
        yield "gpu:slots", str(fewer)
    shorter = left // (slots * token_bytes(model)) // 1_024 * 1_024
    if shorter >= names.DEFAULT_CONTEXT_TOKENS:
        yield "model:contextLength", str(shorter)
    in_fp8 = model.model_copy(update={"kv_cache": "fp8"})
    if model.kv_cache == "auto" and not reason(in_fp8, this, slots):
        yield "model:kvCache", "fp8"


def _others(model: ModelSettings, gpu: GpuSettings, region: str) -> Iterator[tuple[str, str]]:
    """The cheapest other GPU that it fits on, and the largest other preset that fits on this."""
    types = fitting(model, gpu.slots, region)
    if cheapest := next((each for each in types if not needs_own_image(each)), None):
        yield "gpu:instanceType", cheapest
    this = gpu_of(gpu.instance_type)
    presets = {name: _preset(name, model) for name in PRESETS}
    fits = [name for name, each in presets.items() if not reason(each, this, gpu.slots)]
    if largest := max(fits, key=lambda name: PRESETS[name].parameters, default=None):
        yield "model:preset", largest


def fitting(model: ModelSettings, slots: int, region: str) -> Sequence[str]:
    """The instance types that it fits on, of those that the region has, cheapest first."""
    types = prices.gpu_instance_types(region)
    fits = [each for each in types if not reason(model, gpu_of(each), slots)]
    return sorted(fits, key=lambda each: prices.PRICES[each][region].usd)


def _preset(name: str, model: ModelSettings) -> ModelSettings:
    """Another preset, of which the same is wanted."""
    return ModelSettings.model_validate(
        {"preset": name, "contextLength": model.context_length, "kvCache": model.kv_cache}
    )


def _mib(count: int) -> int:
    return math.ceil(count / 2**20)


def _gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"

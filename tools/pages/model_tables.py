"""Presets, GPU types, and which of them go together: the tables of docs/models.md."""

from collections.abc import Sequence

from components import fit, prices
from components.gpus import gpu_of, needs_own_image
from components.models import PRESETS, Preset
from components.settings import ModelSettings, Settings
from tlfif import names, serving
from tlfif.serving import GPUS, Gpu

# Of the second figure in each cell of `fits`.
LONG = 8_192


def presets() -> str:
    """A row for each preset."""
    head = [
        "`model:preset`", "parameters", "weights", "KV cache a token", "longest context",
        "memory for 8 jobs of 2,048 tokens", "disk of the lane", "licence", "pinned",
    ]  # fmt: skip
    return _table(head, [_preset(preset) for preset in PRESETS.values()])


def _preset(preset: Preset) -> list[str]:
    weights, shape = preset.weights, preset.shape
    need = fit.need(_model(preset.name), 8)
    lane = f"{preset.lane.size_bytes / 1e9:.2f} GB" if preset.lane else "none"
    return [
        f"`{preset.name}`",
        f"{preset.parameters / 1e9:.2f} billion",
        f"{weights.size_bytes:,} bytes, {preset.numbers}",
        f"{shape.token_bytes:,} bytes: {shape.layers} layers x {shape.kv_heads} heads x "
        f"{shape.head_dim}",
        f"{shape.longest_context:,}",
        f"{need.total / 1e9:.2f} GB",
        lane,
        preset.licence,
        f"`{weights.repository}` at `{weights.revision[:8]}`",
    ]


def gpus() -> str:
    """A row for each instance type."""
    head = [
        "`gpu:instanceType`", "GPU", "vLLM may have", "capability", "vCPUs of the quota",
        *(f"$ an hour, {region}" for region in prices.REGIONS),
    ]  # fmt: skip
    return _table(head, [_gpu(instance_type) for instance_type in prices.VCPUS])


def _gpu(instance_type: str) -> list[str]:
    gpu, there = gpu_of(instance_type), prices.PRICES[instance_type]
    own = ", image of yours" if needs_own_image(instance_type) else ""
    marked = [there.get(region) for region in prices.REGIONS]
    return [
        f"`{instance_type}`",
        f"{gpu.name}, {gpu.memory_gb:g} GB{own}",
        f"{gpu.room / 1e9:.2f} GB",
        ".".join(map(str, gpu.capability)),
        str(prices.VCPUS[instance_type]),
        *(f"{price.usd:.4g} [{price.mark}]" if price else "not there" for price in marked),
    ]


def fits() -> str:
    """How many jobs at once fit, for each preset and GPU: of 2,048 tokens, and of LONG."""
    head = ["`model:preset`", *(gpu.name for gpu in GPUS)]
    rows = [[f"`{name}`", *(_jobs(name, gpu) for gpu in GPUS)] for name in PRESETS]
    return _table(head, rows)


def _jobs(preset: str, gpu: Gpu) -> str:
    counts = (_most(preset, gpu, tokens) for tokens in (names.DEFAULT_CONTEXT_TOKENS, LONG))
    return " / ".join(str(count) if count else "none" for count in counts)


def _most(preset: str, gpu: Gpu, tokens: int) -> int:
    model = _model(preset, contextLength=tokens)
    counts = range(names.ENGINE_SEQUENCES, 0, -1)
    return next((slots for slots in counts if not fit.reason(model, gpu, slots)), 0)


def flags() -> str:
    """What is different in vLLM's arguments, by GPU, for weights in half precision."""
    model = _model("qwen3-1.7b").served
    told = {gpu.name: " ".join(serving.arguments(model, gpu)[3:]) for gpu in GPUS}
    rows = [[name, f"`{arguments}`"] for name, arguments in told.items()]
    return _table(["GPU", "after `vllm serve <folder> --served-model-name <name>`"], rows)


def previews() -> str:
    """What `make preview` says of each preset on each instance type, with 32 slots of 2,048."""
    head = ["`model:preset`", *(f"`{each}`" for each in prices.VCPUS)]
    rows = [[f"`{name}`", *(_preview(name, each) for each in prices.VCPUS)] for name in PRESETS]
    return _table(head, rows)


def _preview(preset: str, instance_type: str) -> str:
    settings = Settings.parse({"aws:region": prices.REGIONS[0]})
    model, gpu = _model(preset), gpu_of(instance_type)
    if fit.reason(model, gpu, names.ENGINE_SEQUENCES):
        return "refused"
    takes = fit.need(model, names.ENGINE_SEQUENCES)
    return f"€{settings.eur_per_hour(instance_type):.3f}, {takes.total / gpu.room:.0%}"


def _model(preset: str, **keys: int) -> ModelSettings:
    return ModelSettings.model_validate({"preset": preset, **keys})


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

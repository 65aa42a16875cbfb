"""GPU types: where there are any, what they cost, which models fit, and what mends a misfit."""

import dataclasses
import re
from typing import Any

import pytest
from support.program import INSTANCE, evaluate

from components import costs, fit, prices
from components.gpus import gpu_of
from components.models import PRESETS
from components.settings import ModelSettings, Settings, SettingsError
from recording import preview
from recording.invented import RecordingBackend
from recording.model import Recording
from tlfif.serving import A10G, GPUS, L4, L4_EIGHTH, T4, Gpu

pytestmark = pytest.mark.story("EC2-001")

IMAGE = "ami-0123456789abcdef0"
TYPES = sorted(prices.VCPUS)


def parse(region: str = "us-east-1", **groups: dict[str, Any]) -> Settings:
    groups = {"cpu": {"enabled": False}, **groups}
    return Settings.parse(
        {"aws:region": region, **{f"tl-fif:{name}": group for name, group in groups.items()}}
    )


def refusal(region: str = "us-east-1", **groups: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as refused:
        parse(region, **groups)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def mended(said: str, groups: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The groups as the fix of a refusal has them."""
    path, _, value = said.rpartition("'tl-fif:")[2].partition("' ")
    group, key = path.split(".")
    number = int(value) if value.isdecimal() else value
    return {**groups, group: {**groups.get(group, {}), key: number}}


# --- the types


def test_every_type_has_a_gpu_vcpus_and_a_price_somewhere() -> None:
    assert set(TYPES) == set().union(*map(prices.gpu_instance_types, prices.REGIONS))
    assert {gpu_of(each) for each in TYPES} == set(GPUS)
    assert all(prices.VCPUS[each] >= 2 for each in TYPES)


def test_a_type_that_the_region_has_not_is_refused_with_those_it_has() -> None:
    said = refusal("eu-west-1", gpu={"instanceType": "g6.xlarge"})
    assert said.startswith(
        "gpu:instanceType = 'g6.xlarge' is not to be had in eu-west-1. "
        "Choose one of g4dn.2xlarge, g4dn.xlarge, g5.xlarge, or another aws:region."
    )
    assert parse("eu-central-1", gpu={"instanceType": "g6.xlarge"}).gpu_eur_per_hour > 0.8


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
@pytest.mark.parametrize("own", [False, True])
def test_a_part_of_a_gpu_wants_an_image_of_ones_own(own: bool, region: str) -> None:
    gpu = {"instanceType": "g6f.xlarge", "slots": 8}
    if own:
        assert parse(region, gpu={**gpu, "amiId": IMAGE}).gpu.ami_id == IMAGE
        return
    said = refusal(region, gpu=gpu)
    assert said.startswith(
        "gpu:instanceType = g6f.xlarge and gpu:amiId = none do not go together: "
        "a part of a GPU wants NVIDIA's GRID driver"
    )


@pytest.fixture(scope="module")
def asked() -> list[Any]:
    """What EC2 was asked which zones offer it, once the program has run."""
    return []


@pytest.fixture(scope="module")
def with_l4(asked: list[Any]) -> Recording:
    """A stack whose nodes have another GPU than the default one."""

    class Asked(RecordingBackend):
        def zones_offering(self, question: Any) -> list[str]:
            asked.append(question["filters"][0]["values"])
            return super().zones_offering(question)

    config = {"tl-fif:gpu": {"instanceType": "g6.xlarge"}}
    return evaluate("dev", Asked("dev", "us-east-1"), config=config)


def test_the_nodes_are_of_the_type_where_a_zone_has_it(
    with_l4: Recording, asked: list[Any]
) -> None:
    assert with_l4.one(INSTANCE, "gpu-node-0").inputs["instanceType"] == "g6.xlarge"
    assert asked == [["g6.xlarge"]]
    (hour,) = [
        line for line in with_l4.bill if (line["item"], line["per"]) == ("g6.xlarge", "gpu-hour")
    ]
    assert (hour["per"], hour["usd"]) == ("gpu-hour", 0.8048)


# --- what fits


def test_the_cache_of_a_token_is_keys_and_values_of_all_layers() -> None:
    assert PRESETS["tinyllama"].shape.token_bytes == 22 * 2 * 4 * 64 * 2
    model = ModelSettings(preset="qwen3-8b-fp8")
    assert fit.token_bytes(model) == 147_456
    assert fit.token_bytes(ModelSettings(preset="qwen3-8b-fp8", kvCache="fp8")) == 73_728
    assert fit.need(model, 4).cache == 4 * 2_048 * 147_456


def test_what_was_proven_on_a_t4_fits_it() -> None:
    assert fit.reason(ModelSettings(preset="qwen2.5-1.5b"), T4, 8) == ""


FITS = {
    "tinyllama": {T4, A10G, L4, L4_EIGHTH},
    "qwen2.5-1.5b": {T4, A10G, L4},
    "qwen3-1.7b": {T4, A10G, L4},
    "smollm3-3b": {T4, A10G, L4},
    "llama-3.2-3b": {T4, A10G, L4},
    "qwen3-4b-awq": {T4, A10G, L4},
    "qwen3-8b-fp8": {A10G, L4},
}


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
@pytest.mark.parametrize("preset", PRESETS)
def test_eight_jobs_of_each_preset_fit_or_not(preset: str, gpu: Gpu) -> None:
    reason = fit.reason(ModelSettings(preset=preset), gpu, 8)
    assert (reason == "") == (gpu in FITS[preset]), reason


@pytest.mark.parametrize(
    ("model", "gpu", "begins", "why"),
    [
        (
            {"preset": "qwen3-8b-fp8"},
            {},
            "model:preset = qwen3-8b-fp8 and gpu:instanceType = g4dn.xlarge do not go together",
            "weights in FP8 want compute capability 8.0, the Tesla T4 has 7.5",
        ),
        (
            {"preset": "qwen3-1.7b", "kvCache": "fp8"},
            {"instanceType": "g5.xlarge"},
            "model:preset = qwen3-1.7b and gpu:instanceType = g5.xlarge do not go together",
            "an FP8 KV cache (model:kvCache) wants compute capability 8.9, the NVIDIA A10G has 8.6",
        ),
        (
            {"preset": "qwen3-1.7b", "contextLength": 8_192},
            {},
            "model:preset = qwen3-1.7b and gpu:instanceType = g4dn.xlarge and gpu:slots = 32 and "
            "model:contextLength = 8192 do not go together",
            "KV cache 30.06 GB (32 of 8,192 tokens, 114,688 bytes each)",
        ),
        (
            {"preset": "llama-3.2-3b"},
            {"instanceType": "g6f.large", "slots": 1, "amiId": IMAGE},
            "model:preset = llama-3.2-3b and gpu:instanceType = g6f.large",
            "vLLM may have 2.55 GB of the NVIDIA L4-3Q",
        ),
        (
            {},
            {"instanceType": "g6f.large", "amiId": IMAGE},
            "model:preset = tinyllama and gpu:instanceType = g6f.large and gpu:slots = 32",
            "it would go with model:kvCache = fp8, gpu:instanceType = g4dn.xlarge too",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_a_fix_that_mends_it(
    model: dict[str, Any], gpu: dict[str, Any], begins: str, why: str
) -> None:
    groups = {"model": model, "gpu": gpu}
    said = refusal(**groups)
    assert said.startswith(begins)
    assert why in said
    parse(**mended(said, groups))


def test_wide_heads_want_ampere() -> None:
    preset = PRESETS["qwen3-1.7b"]
    wide = dataclasses.replace(preset.shape, head_dim=512, layers=4)
    PRESETS["qwen3-1.7b"] = dataclasses.replace(preset, shape=wide)
    try:
        model = ModelSettings(preset="qwen3-1.7b")
        assert fit.reason(model, T4, 1).startswith("heads of 512 want compute capability 8.0")
        assert fit.reason(model, A10G, 1) == ""
    finally:
        PRESETS["qwen3-1.7b"] = preset


def test_a_stack_without_nodes_may_name_what_no_gpu_serves() -> None:
    gpu = {"wake": "never"}
    assert parse(model={"contextLength": 32_768, "preset": "qwen2.5-1.5b"}, cpu=LANE, gpu=gpu).model


LANE = {"diskMb": 2_048, "memoryMb": 4_096}
OTHER = {"repository": "me/mine", "revision": "a" * 40, "format": "safetensors"}


def test_of_an_unknown_model_it_is_said_what_was_assumed() -> None:
    settings = parse(model=OTHER)
    told = fit.told(settings.model, settings.gpu)
    assert told.startswith("assumed to fit: up to 2.62 GB of weights do (model:sizeGb says what")
    known = parse(model={**OTHER, "sizeGb": 2.5})
    assert fit.told(known.model, known.gpu).startswith("13.16 GB of the 13.29 GB that vLLM may")
    said = refusal(model={**OTHER, "sizeGb": 3})
    assert "weights 3.00 GB" in said


# --- the preview


def test_the_preview_says_what_each_gpu_would_cost_and_leave(
    with_l4: Recording, dev: Recording
) -> None:
    types = {each["instanceType"]: each for each in with_l4.outputs[costs.GPU_TYPES]}
    assert [name for name, each in types.items() if each["configured"]] == ["g6.xlarge"]
    assert types["g6.xlarge"]["hoursLeft"] == with_l4.outputs[costs.LEFT]
    assert types["g4dn.xlarge"]["hoursLeft"] == dev.outputs[costs.LEFT]
    euros = [each["eurPerHour"] for each in types.values()]
    assert euros == sorted(euros)
    assert [name for name in types if types[name]["ownImage"]] == ["g6f.large", "g6f.xlarge"]
    text = preview.as_text(with_l4, None, [], [])
    assert re.search(
        r"   \* g6.xlarge     0.704 €/GPU-hour   1\d.\d hours left  NVIDIA L4, 24 GB\n", text
    )
    hours = types["g4dn.xlarge"]["hoursLeft"]
    assert (
        f"     g4dn.xlarge   0.462 €/GPU-hour   {hours:.1f} hours left  Tesla T4, 16 GB\n" in text
    )
    assert "of the 21.16 GB that vLLM may have of the NVIDIA L4: weights 0.67 GB" in text
    assert "   vllm serve /srv/tl-fif/model/tinyllama" in text


def test_a_stack_without_nodes_says_nothing_of_gpus() -> None:
    recording = evaluate("dev", config={"tl-fif:gpu": {"wake": "never"}})
    assert not recording.outputs.get(costs.GPU_TYPES)
    assert "what the nodes serve" not in preview.as_text(recording, None, [], [])

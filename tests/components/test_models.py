"""The model as one group of keys: presets, what is not set, and what is refused with its fix."""

import json
from typing import Any, get_args

import pytest
from support.program import FUNCTION, evaluate, variables

from components.models import PRESETS, PresetName
from components.settings import ModelSettings, Settings, SettingsError
from recording import kinds
from tlfif import environment, names

pytestmark = pytest.mark.story("EC2-002")

REGION = {"aws:region": "us-east-1"}
OFF = {"enabled": False}
LARGE = {"instanceType": "g6.xlarge"}
OTHER = {"repository": "me/mine", "revision": "a" * 40}
HASH = "b" * 64


def parse(**groups: dict[str, Any]) -> Settings:
    return Settings.parse({**REGION, **{f"tl-fif:{name}": group for name, group in groups.items()}})


def refusal(**groups: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as refused:
        parse(**groups)
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


# --- presets


def test_a_preset_can_be_set_by_each_name() -> None:
    assert set(get_args(PresetName)) == PRESETS.keys()


def test_the_default_is_the_storys_model() -> None:
    model = ModelSettings()
    assert (model.preset, model.format, model.served_name) == ("tinyllama", "gguf", "tinyllama")
    assert model.file == "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf"
    assert model.context_length == names.DEFAULT_CONTEXT_TOKENS
    assert model == ModelSettings(preset="tinyllama")
    assert model.lane is not None
    assert model.lane.sha256 == model.sha256


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_a_preset_sets_every_key_and_is_known_by_its_content(preset: Any) -> None:
    model = parse(model={"preset": preset.name}, cpu=OFF, gpu=LARGE).model
    assert model.known is preset
    assert model.size_bytes == preset.weights.size_bytes
    assert (model.repository, model.revision) == (
        preset.weights.repository,
        preset.weights.revision,
    )
    assert (model.file is None, model.tokenizer is None) == (model.format == "safetensors",) * 2
    assert (model.lane is None) == (preset.lane is None)
    baked = model.served
    assert (baked.served_name, baked.context_tokens) == (preset.name, 2_048)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_a_presets_weights_are_no_larger_than_its_numbers_make_them(preset: Any) -> None:
    least, most = {"Q4": (4, 6), "16-bit": (15.9, 16.1), "AWQ": (4, 6), "FP8": (8, 10)}[
        preset.numbers
    ]
    bits = 8 * preset.weights.size_bytes / preset.parameters
    assert least <= bits <= most
    if preset.lane:
        assert 4 <= 8 * preset.lane.size_bytes / preset.parameters <= 6


def test_what_is_set_counts_more_than_the_preset() -> None:
    model = parse(model={"preset": "qwen3-1.7b", "servedName": "q"}, cpu=OFF).model
    assert (model.served_name, model.repository) == ("q", "Qwen/Qwen3-1.7B")


# --- other models


def test_another_gguf_is_the_lanes_too() -> None:
    base = {"tokenizer": "me/base", "tokenizerRevision": "c" * 40}
    model = parse(model={**OTHER, "file": "m.gguf", "sha256": HASH, **base}).model
    assert (model.known, model.size_bytes) == (None, None)
    assert model.lane is not None
    assert model.lane.url.endswith(f"/me/mine/resolve/{'a' * 40}/m.gguf")
    assert model.lane.key == names.model_key(HASH)


def test_another_repository_has_nothing_of_the_presets_gguf() -> None:
    said = refusal(model={**OTHER, "format": "safetensors"})
    assert said.startswith("model:laneRepository = None: the instant lane runs GGUF files alone")
    assert said.endswith("or do without: pulumi config set --path 'tl-fif:cpu.enabled' false")
    model = parse(model={**OTHER, "format": "safetensors"}, cpu=OFF).model
    assert (model.file, model.sha256, model.tokenizer, model.lane) == (None,) * 4
    lane = {"laneRepository": "me/q", "laneFile": "q.gguf", "laneRevision": "c" * 40}
    of_its_own = parse(model={**OTHER, "format": "safetensors", **lane, "laneSha256": HASH}).model
    assert of_its_own.lane is not None
    assert of_its_own.lane.url.endswith(f"/me/q/resolve/{'c' * 40}/q.gguf")


def test_another_repositorys_gguf_has_no_tokenizer_of_the_presets() -> None:
    gguf = {**OTHER, "file": "mine.gguf", "sha256": HASH}
    assert refusal(model=gguf).startswith("model:tokenizer = None: the nodes' engine reads none")
    base = {"tokenizer": "me/base", "tokenizerRevision": "c" * 40}
    assert parse(model={**gguf, **base}).model.served.tokenizer == "me/base"
    assert parse(model=gguf, gpu={"wake": "never"}).model.tokenizer is None
    # Another quantisation of the same model.
    same = parse(model={"file": "tinyllama-1.1b-chat-v1.0.Q8_0.gguf", "sha256": HASH}).model
    assert same.tokenizer == ModelSettings().tokenizer


def test_a_model_that_fills_the_disk_is_refused() -> None:
    model = {**OTHER, "format": "safetensors", "sizeGb": 15}
    said = refusal(model=model, gpu={**LARGE, "slots": 4}, cpu=OFF)
    assert "gpu:diskGb = 30 do not go together: the image takes 31 GB" in said
    assert said.endswith("pulumi config set --path 'tl-fif:gpu.diskGb' 31")
    parse(model=model, gpu={**LARGE, "slots": 4, "diskGb": 31}, cpu=OFF)


def test_another_commit_of_a_presets_repository_is_another_model() -> None:
    said = refusal(model={"preset": "qwen3-1.7b", "revision": "a" * 40})
    assert said.startswith("model:laneRepository = None: ")


@pytest.mark.parametrize(
    ("model", "begins"),
    [
        ({"file": None}, "model:file = None: a model in the format gguf is one file."),
        ({"sha256": None}, "model:sha256 = None: a model in the format gguf is one file."),
        ({"tokenizer": None}, "model:tokenizer = None: the nodes' engine reads none from a GGUF"),
        ({"laneFile": "a.gguf"}, "model:laneRepository = None: the instant lane runs GGUF"),
        (
            {"preset": "qwen3-1.7b", "sha256": HASH},
            f"model:sha256 = {HASH} and model:format = safetensors do not go together: ",
        ),
        ({"preset": "gpt-2"}, "model:preset = 'gpt-2': input should be 'tinyllama', "),
        ({"contextLength": 1_024}, "model:contextLength = 1024: input should be greater than or"),
        (
            {"contextLength": 4_096},
            "model:preset = tinyllama and model:contextLength = 4096 do not go together: "
            "the model was made for 2,048 tokens (it would go with model:preset = qwen2.5-1.5b",
        ),
    ],
)
def test_a_model_named_by_half_is_refused_with_the_fix(model: dict[str, Any], begins: str) -> None:
    said = refusal(model=model)
    assert said.startswith(begins)
    assert "pulumi config set --path 'tl-fif:model." in said


def test_a_stack_without_nodes_needs_no_tokenizer() -> None:
    assert parse(model={"tokenizer": None}, gpu={"wake": "never"}).model.lane is not None


# --- the instant lane


@pytest.mark.story("EC2-003")
@pytest.mark.parametrize(
    ("preset", "context", "cpu", "ends"),
    [
        ("qwen3-1.7b", 2_048, {}, "set --path 'tl-fif:cpu.diskMb' 1088"),
        ("llama-3.2-3b", 8_192, {"diskMb": 2_048}, "set --path 'tl-fif:cpu.memoryMb' 4224"),
        (
            "llama-3.2-3b",
            131_072,
            {"diskMb": 2_048},
            "set --path 'tl-fif:cpu.enabled' false",
        ),
    ],
)
def test_weights_that_the_lane_has_no_room_for_are_refused(
    preset: str, context: int, cpu: dict[str, Any], ends: str
) -> None:
    wanted = {"preset": preset, "contextLength": context}
    said = refusal(model=wanted, cpu=cpu, gpu={"wake": "never"})
    assert said.startswith(f"model:preset = {preset} and cpu:")
    assert said.endswith(ends)
    key, value = ends.rpartition("tl-fif:cpu.")[2].split("' ")
    if key != "enabled":
        parse(model=wanted, cpu={**cpu, key: value}, gpu={"wake": "never"})


def test_each_preset_with_a_lane_fits_a_new_accounts_function() -> None:
    for preset in PRESETS.values():
        if preset.lane:
            settings = parse(model={"preset": preset.name}, cpu={"diskMb": 2_048}, gpu=LARGE)
            assert settings.cpu.memory_mb == 3_008


# --- what it becomes


@pytest.mark.story("EC2-003")
def test_context_and_name_reach_nodes_and_lane() -> None:
    config = {
        "tl-fif:model": {"preset": "qwen2.5-1.5b", "contextLength": 8_192, "servedName": "q"},
        "tl-fif:cpu": {"diskMb": 2_048},
    }
    recording = evaluate("dev", config=config)
    parameter = recording.one(kinds.ssm.PARAMETER.token, "gpu-node-settings")
    node = environment.Node.read(json.loads(parameter.inputs["insecureValue"]))
    lane = environment.CpuWorker.read(variables(recording, "cpu-worker-function"))
    assert (node.model, node.context_tokens) == (lane.model, lane.context_tokens) == ("q", 8_192)
    weights = PRESETS["qwen2.5-1.5b"].lane
    assert weights is not None
    assert lane.model_sha256 == weights.sha256
    assert "--max-model-len 8192" in recording.outputs["engine"]["arguments"]


def test_a_model_without_a_gguf_has_neither_lane_nor_weights_in_the_bucket() -> None:
    config = {"tl-fif:model": {"preset": "qwen3-4b-awq"}, "tl-fif:cpu": OFF}
    recording = evaluate("dev", config=config)
    made = [each.name for each in recording.of_type(FUNCTION)]
    assert "model-weights-function" not in made
    assert "model_status" not in recording.outputs

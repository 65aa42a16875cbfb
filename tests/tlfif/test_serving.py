"""vLLM's arguments, as model and GPU want them, and the model that an image was baked with."""

from pathlib import Path

import pytest

from tlfif import names, serving
from tlfif.serving import A10G, GPUS, L4, T4, Gpu, Model

pytestmark = pytest.mark.story("EC2-002")

GGUF = Model(
    repository="a/b",
    revision="c" * 40,
    file="tiny.gguf",
    sha256="d" * 64,
    format="gguf",
    served_name="tiny",
    context_tokens=2_048,
    tokenizer="a/base",
    tokenizer_revision="e" * 40,
)
WHOLE = GGUF.model_copy(
    update={"file": "", "sha256": "", "format": "safetensors", "context_tokens": 8_192}
)


def options(model: Model, gpu: Gpu) -> dict[str, str]:
    """The options with their values, '' for a switch; the model is 'serve'."""
    serve, *words = serving.arguments(model, gpu, Path("/m"))
    found = {"serve": serve}
    for word in words:
        if word.startswith("--"):
            found[word] = ""
        else:
            found[list(found)[-1]] = word
    return found


def test_a_gguf_file_on_a_t4_is_served_as_the_story_wants() -> None:
    assert options(GGUF, T4) == {
        "serve": "/m/tiny.gguf",
        "--tokenizer": "/m/tokenizer",
        "--hf-config-path": "/m/tokenizer",
        "--served-model-name": "tiny",
        "--dtype": "half",
        "--attention-backend": "TRITON_ATTN",
        "--enforce-eager": "",
        "--max-model-len": "2048",
        "--max-num-seqs": str(names.ENGINE_SEQUENCES),
        "--max-num-batched-tokens": "2048",
        "--gpu-memory-utilization": "0.85",
        "--generation-config": "vllm",
    }


def test_a_whole_repository_is_its_folder_and_has_its_own_tokenizer() -> None:
    told = options(WHOLE, L4)
    assert (told["serve"], told["--max-model-len"]) == ("/m", "8192")
    assert "--tokenizer" not in told


@pytest.mark.parametrize(
    ("model", "gpu", "dtype", "backend"),
    [
        (WHOLE, T4, "half", "TRITON_ATTN"),
        (WHOLE, A10G, "auto", None),
        (WHOLE, L4, "auto", None),
        (GGUF, L4, "half", None),
    ],
)
def test_bfloat16_and_flash_attention_begin_with_ampere(
    model: Model, gpu: Gpu, dtype: str, backend: str | None
) -> None:
    told = options(model, gpu)
    assert (told["--dtype"], told.get("--attention-backend")) == (dtype, backend)
    assert "--kv-cache-dtype" not in told


def test_a_cache_in_fp8_has_its_own_backend() -> None:
    told = options(WHOLE.model_copy(update={"kv_cache": "fp8"}), L4)
    assert (told["--kv-cache-dtype"], told["--attention-backend"]) == ("fp8", "TRITON_ATTN")


def test_a_gpu_is_known_by_its_name_and_an_unknown_one_is_the_oldest() -> None:
    assert [serving.gpu_named(gpu.name) for gpu in GPUS] == list(GPUS)
    assert serving.gpu_named("NVIDIA H100") is min(GPUS, key=lambda gpu: gpu.capability)


def test_an_image_says_what_it_serves(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    assert serving.baked(path) is None
    path.write_text(WHOLE.model_dump_json())
    assert serving.baked(path) == WHOLE
    path.write_text(WHOLE.model_dump_json().replace("safetensors", "onnx"))
    with pytest.raises(ValueError, match="gguf"):
        serving.baked(path)


def test_an_older_images_model_is_read() -> None:
    older = GGUF.model_dump(exclude={"kv_cache"})
    assert Model.model_validate(older) == GGUF

"""The engine's context is one number, and everybody has it from one place."""

import re
from pathlib import Path

import pytest

from tlfif import names, serving

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.story("EC2-003", "LAM-002")


def test_the_engine_is_started_with_the_context_that_the_worker_counts_with() -> None:
    model = serving.Model(
        repository="", revision="", file="", sha256="", format="gguf", served_name="tinyllama",
        context_tokens=names.CONTEXT_TOKENS,
    )  # fmt: skip
    command = " ".join(serving.arguments(model, serving.T4))
    for option in ("--max-model-len", "--max-num-batched-tokens"):
        assert re.findall(rf"{option} (\d+)", command) == [str(names.CONTEXT_TOKENS)], option
    assert f"--max-num-seqs {names.ENGINE_SEQUENCES} " in command


def test_a_short_prompt_leaves_room_for_the_longest_answer() -> None:
    assert names.MAX_TOKENS < names.CONTEXT_TOKENS


@pytest.mark.parametrize("page", ["openapi.yaml", "docs/api.md"])
def test_pages_name_the_limits_in_force(page: str) -> None:
    text = (ROOT / page).read_text().replace(",", "")
    assert f"{names.CONTEXT_TOKENS} tokens" in text
    assert f"{names.MAX_TOKENS}" in text
    assert f"{names.MAX_PROMPT_BYTES} bytes" in text

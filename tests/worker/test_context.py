"""The pages name the limits that hold unless a stack says otherwise."""

from pathlib import Path

import pytest

from tlfif import names

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.story("EC2-003", "LAM-002")


def test_a_short_prompt_leaves_room_for_the_longest_answer() -> None:
    assert names.MAX_TOKENS < names.DEFAULT_CONTEXT_TOKENS


@pytest.mark.parametrize("page", ["openapi.yaml", "docs/api.md"])
def test_pages_name_the_limits_in_force(page: str) -> None:
    text = (ROOT / page).read_text().replace(",", "")
    assert f"{names.DEFAULT_CONTEXT_TOKENS} tokens" in text
    assert f"{names.MAX_TOKENS}" in text
    assert f"{names.MAX_PROMPT_BYTES} bytes" in text
    assert f"1 to {names.MAX_MESSAGES} " in text

"""The user pool, whose users nobody can make again with their passwords."""

import pytest
from support.program import evaluate

from recording import kinds


@pytest.mark.story("API-002")
@pytest.mark.parametrize(("stack", "protected"), [("dev", False), ("prod", True)])
def test_prods_user_pool_cannot_be_deleted_by_mistake(stack: str, protected: bool) -> None:
    pool = evaluate(stack).one(kinds.cognito.USER_POOL.token)
    assert pool.inputs["deletionProtection"] == ("ACTIVE" if protected else "INACTIVE")


def test_a_key_decides() -> None:
    config = {"tl-fif:gateway": {"deletionProtection": False}}
    pool = evaluate("prod", config=config).one(kinds.cognito.USER_POOL.token)
    assert pool.inputs["deletionProtection"] == "INACTIVE"

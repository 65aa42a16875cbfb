"""What the lane's engine is told of its model."""

from types import SimpleNamespace
from typing import Any

import pytest

from cpu_worker import llama


class Stub:
    """An object whose every attribute is one."""

    def __getattr__(self, name: str) -> Any:
        value = Stub()
        setattr(self, name, value)
        return value


@pytest.mark.story("EC2-003")
def test_each_generation_has_the_whole_context_of_the_model_as_it_is_called() -> None:
    told = {"path": "/w.gguf", "port": 1, "slots": 3, "threads": 2}
    engine = SimpleNamespace(CommonParams=Stub)
    params = llama.parameters(engine, **told, model="qwen", context_tokens=8_192)
    assert (params.n_ctx, params.n_parallel, params.model_alias) == (3 * 8_192, 3, {"qwen"})

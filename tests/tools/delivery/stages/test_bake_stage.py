"""The bake stage's question before a bake: is it this commit's software that would be baked?"""

import json
from pathlib import Path
from typing import Any

import pytest
from support.recordings import evaluate

from tools.delivery import bake
from tools.delivery.bake import recipe_version

pytestmark = pytest.mark.story("CI-003")


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a stack that is deployed as it is declared."""
    monkeypatch.setattr(bake, "evaluate", evaluate)
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps({"image_recipe_version": recipe_version(evaluate("dev"))}))
    return file


def test_what_is_deployed_is_what_would_be_deployed_now(
    run: Any, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bake.main, "--outputs", outputs) == 0
    assert "this commit's image is 1.0." in capsys.readouterr().out


def test_an_older_recipe_is_refused_with_what_to_do(
    run: Any, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs.write_text('{"image_recipe_version": "1.0.1"}')
    assert run(bake.main, "--outputs", outputs) == 1
    said = capsys.readouterr().err
    assert "what is deployed bakes 1.0.1: pulumi up --stack dev first" in said
    assert said.count("\n") == 1


def test_a_stack_that_is_not_there_or_has_no_nodes_is_one_line(
    run: Any, outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(bake.main, "--stack", "nowhere", "--outputs", outputs) == 1
    assert "there is no stack 'nowhere'" in capsys.readouterr().err
    alone = evaluate("dev", config={"tl-fif:gpu": {"wake": "never"}})
    monkeypatch.setattr(bake, "evaluate", lambda stack: alone)
    assert run(bake.main, "--outputs", outputs) == 1
    assert "has no image: gpu:wake = never, so no bake stage" in capsys.readouterr().err

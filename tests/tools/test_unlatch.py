"""`make unlatch`: asks the stack's guardian, and prints its line (OPS-003)."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import calling, unlatch

pytestmark = pytest.mark.story("OPS-003")

GUARDIAN = "arn:aws:lambda:us-east-1:123456789012:function:tl-fif-dev-guardian"


class Lambda:
    """Answers for the guardian."""

    def __init__(self, answer: object, error: str = "") -> None:
        self.called: list[dict[str, Any]] = []
        self._answer, self._error = answer, error

    def invoke(self, **call: Any) -> dict[str, Any]:
        self.called.append(call)
        payload = io.BytesIO(json.dumps(self._answer).encode())
        return {"Payload": payload, **({"FunctionError": self._error} if self._error else {})}


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, lambda_: Lambda, *arguments: str) -> int:
    outputs = folder / "outputs.json"
    outputs.write_text(json.dumps({"guardian_arn": GUARDIAN}))
    monkeypatch.setattr(calling.boto3, "client", lambda service, **_: lambda_)
    monkeypatch.setattr(sys, "argv", ["unlatch", "--outputs", str(outputs), *arguments])
    return unlatch.main()


@pytest.mark.parametrize(
    ("arguments", "command"), [((), "unlatch"), (("--breaker",), "reset_breaker")]
)
def test_it_asks_the_guardian_and_says_what_that_did(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    command: str,
) -> None:
    lambda_ = Lambda({"ok": True, "message": "done"})
    assert run(monkeypatch, tmp_path, lambda_, *arguments) == 0
    [call] = lambda_.called
    assert (call["FunctionName"], json.loads(call["Payload"])) == (GUARDIAN, {"command": command})
    assert capsys.readouterr().out == "tl-fif: done\n"


@pytest.mark.parametrize(
    ("answer", "error", "line"),
    [
        ({"ok": False, "message": "€ 20 spent; raise budget.capEur"}, "", "raise budget.capEur"),
        ({"errorMessage": "boom"}, "Unhandled", "tl-fif-dev-guardian failed: boom; its log is"),
    ],
)
def test_a_refusal_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    answer: object,
    error: str,
    line: str,
) -> None:
    assert run(monkeypatch, tmp_path, Lambda(answer, error)) == 1
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_a_stack_that_is_not_deployed_is_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["unlatch", "--outputs", str(tmp_path / "none.json")])
    assert unlatch.main() == 1
    assert "no output guardian_arn" in capsys.readouterr().err

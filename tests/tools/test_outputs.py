"""A stack's outputs: those that a command needs, each of its form, or one line with the fix."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from tools.outputs import OutputsError, amount, stack_outputs, whole

ARN = "arn:aws:lambda:us-east-1:123456789012:function:tl-fif-dev-router"
GOOD: dict[str, Any] = {
    "api_url": "https://abc.execute-api.us-east-1.amazonaws.com/v1",
    "user_pool_id": "us-east-1_aB3",
    "user_pool_client_id": "client",
    "router_arn": ARN,
    "model_status": {"ok": False, "message": "m", "sha256": "0" * 64, "function": ARN},
    "pipeline_name": None,
}


def refusal(file: Path | None, *needed: str, stack: str = "dev") -> str:
    with pytest.raises(OutputsError) as refused:
        stack_outputs(stack, file, needed or ("api_url",), "make user")
    (line,) = str(refused.value).splitlines()
    return line


def test_what_is_needed_is_there(tmp_path: Path) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(GOOD))
    assert stack_outputs("dev", file, [*GOOD][:-1], "make user") == GOOD
    for encoding in ("utf-8-sig", "utf-16"):
        file.write_text(json.dumps(GOOD), encoding=encoding)
        assert stack_outputs("dev", file, ["api_url"], "make user") == GOOD


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "gave no stack outputs: "),
        (b"{", "gave no stack outputs: "),
        (b"\xff\xff{}", "gave no stack outputs: "),
        (b"[" * 100_000, "gave no stack outputs: "),
        (b"[]", "it is a list, and no map from names to values"),
        (b"7", "it is a int, and no map"),
        (b"null", "it is a NoneType, and no map"),
    ],
)
def test_a_file_that_holds_none_is_refused_with_the_fix(
    content: bytes, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "outputs.json"
    file.write_bytes(content)
    line = refusal(file)
    assert line.startswith(f"{file} gave no stack outputs: ")
    assert said in line
    assert line.endswith("write them anew: pulumi stack output --json > outputs.json")


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"OUTPUTS = {tmp_path}: Is a directory; ")
    assert refusal(tmp_path / "no").startswith(f"OUTPUTS = {tmp_path / 'no'}: No such file")


@pytest.mark.parametrize("name", [*GOOD])
@pytest.mark.parametrize("value", [None, "", {}, [], 0])
def test_one_that_is_missing_is_named(name: str, value: Any, tmp_path: Path) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps({**GOOD, name: value}))
    said = f"stack prod has no output {name}; is it deployed? (pulumi up --stack prod)"
    assert refusal(file, name, stack="prod") == said


@pytest.mark.parametrize("name", [*GOOD])
@pytest.mark.parametrize("value", [7, ["x"], {"value": "x"}, True, {"sha256": 1, "function": "x"}])
def test_one_of_another_form_is_named_with_its_value(name: str, value: Any, tmp_path: Path) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps({**GOOD, name: value}))
    assert refusal(file, name).startswith(f"{name} = {value!r}, from {file}, is no ")


@pytest.mark.parametrize(
    ("name", "value"),
    [("router_arn", "x"), ("router_arn", "arn:aws"), ("api_url", "x"), ("user_pool_id", "pool")],
)
def test_text_that_nothing_could_be_read_from_is_refused(
    name: str, value: str, tmp_path: Path
) -> None:
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps({**GOOD, name: value}))
    assert refusal(file, name).startswith(f"{name} = {value!r}, from {file}, is no ")


# --- asked of Pulumi


@pytest.fixture
def pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the command, the only one on PATH."""
    path = tmp_path / "bin" / "pulumi"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", str(path.parent))
    return path


def write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_the_command_the_other_way_is_named(pulumi: Path) -> None:
    fix = "or give the stack's outputs: make user OUTPUTS=file.json"
    assert refusal(None) == f"the pulumi command is not installed; {fix}"


def test_what_pulumi_has_against_it_is_one_line_with_the_fix(pulumi: Path) -> None:
    write(pulumi, "echo 'error: no stack named '\"'produ'\" >&2; echo 'found' >&2; exit 255")
    line = refusal(None, stack="produ")
    assert (
        "error: no stack named 'produ' found; name a stack of `pulumi stack ls`, in STACK=" in line
    )


def test_a_stack_that_is_not_deployed_has_no_outputs(pulumi: Path) -> None:
    write(pulumi, 'test "$*" = "stack output --json --non-interactive --stack dev" && echo "{}"')
    assert (
        refusal(None) == "stack dev has no output api_url; is it deployed? (pulumi up --stack dev)"
    )


def test_what_is_no_answer_is_refused(pulumi: Path) -> None:
    write(pulumi, "echo 'Update available!'")
    assert refusal(None).startswith("pulumi stack output --stack dev gave no stack outputs: ")


# --- numbers of options


@pytest.mark.parametrize("text", ["x", "", "nan", "inf", "-1", "1e999"])
def test_an_amount_is_a_number_from_0_on(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no number from 0 on"):
        amount(text)
    assert (amount("0"), amount("2.5"), amount("1e3")) == (0, 2.5, 1000)


@pytest.mark.parametrize("text", ["x", "", "0", "-1", "1.5", "9" * 5000])
def test_a_count_is_a_whole_number_from_1_on(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no whole number from 1 on"):
        whole(text)
    assert whole("20") == 20

"""`make model`: the weights come by the stack's own function, from the hub or from a file, or one
line says why not.
"""

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.model_stack import CONTENT, ModelStack
from support.model_stack import model_stack as make_model_stack
from support.world import BUCKET

from components.settings import ModelSettings
from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.lambda_.model import InvokeResult
from tlfif import names

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]

ROOT = Path(__file__).parents[2]
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:tl-fif-dev-model-fetch"


@pytest.fixture
def stack(endpoint: Endpoint, moto: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelStack]:
    """A stack whose function runs in this process."""
    with make_model_stack(endpoint, moto, monkeypatch) as made:

        async def invoke(name: str, payload: bytes, context: str | None) -> InvokeResult:
            assert name == FUNCTION.rpartition(":")[2]
            assert json.loads(payload) == {"caller": "make model"}
            return result(await made.run())

        endpoint.on_invoke = invoke
        yield made


def result(answer: Any, error: Any = None) -> InvokeResult:
    payload = json.dumps(answer).encode()
    return InvokeResult(
        payload=payload, error=error, log_tail="", duration_ms=1, cold=False, request_id="r"
    )


@pytest.fixture
def outputs(stack: ModelStack, tmp_path: Path) -> Path:
    file = tmp_path / "outputs.json"
    status = {"ok": False, "message": "m", "sha256": stack.hub.sha256, "function": FUNCTION}
    file.write_text(json.dumps({"replies_bucket": BUCKET, "model_status": status}))
    return file


async def make_model(stack: ModelStack, *arguments: object) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of the command, with the operator's credentials."""
    key, secret = stack.endpoint.operator
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tools.model", *map(str, arguments)),
        cwd=ROOT,
        env={**os.environ, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_function_is_called_and_its_line_shown(stack: ModelStack, outputs: Path) -> None:
    code, out, err = await make_model(stack, "--outputs", outputs)
    key = names.model_key(stack.hub.sha256)
    assert (code, err) == (0, "")
    assert out == f"tl-fif: {key} is there, {len(CONTENT):,} bytes, checked\n"
    stack.assert_whole()


async def test_a_refusal_is_its_line_and_a_failure(stack: ModelStack, outputs: Path) -> None:
    stack.hub.front = lambda request: request.answer(404)
    code, out, err = await make_model(stack, "--outputs", outputs)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"tl-fif: the hub has no {stack.hub.url} (404)")


async def test_a_file_comes_without_the_hub(
    stack: ModelStack, outputs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "w.gguf"
    file.write_bytes(CONTENT)
    code, out, err = await make_model(stack, "--outputs", outputs, "--file", file)
    assert code == 0, err
    assert "is there" in out
    assert "100 % of" in err
    stack.assert_whole()
    assert stack.hub.asked == []
    code, out, err = await make_model(stack, "--outputs", outputs, "--file", file)
    assert (code, err) == (0, ""), "nothing is carried twice"


async def test_another_file_is_refused_with_the_lines_that_make_it_the_stacks(
    stack: ModelStack, outputs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "other.Q4_0.gguf"
    file.write_bytes(CONTENT[:-1])
    code, out, err = await make_model(stack, "--outputs", outputs, "--file", file)
    assert (code, out) == (1, "")
    stack.assert_nothing()
    assert f"(tl-fif:model.sha256) have {stack.hub.sha256}" in err
    lines = [shlex.split(line) for line in err.splitlines() if "pulumi config set" in line]
    assert [line[:6] for line in lines] == [
        ["pulumi", "config", "set", "--stack", "dev", "--path"]
    ] * 2
    told = {line[6].removeprefix("tl-fif:model."): line[7] for line in lines}
    assert told["sha256"] in err.splitlines()[0]
    assert ModelSettings(**told).file == file.name


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "is no GGUF file"), (b"PK\3\4" + b"x" * 99, "is no GGUF file"), (None, "No such file")],
)
async def test_a_file_that_cannot_be_weights_is_named(
    content: bytes | None, says: str, stack: ModelStack, outputs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "w.gguf"
    if content is not None:
        file.write_bytes(content)
    code, out, err = await make_model(stack, "--outputs", outputs, "--file", file)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert says in err
    assert str(file) in err
    stack.assert_nothing()


async def test_a_function_that_fails_is_said_so(stack: ModelStack, outputs: Path) -> None:
    async def invoke(name: str, payload: bytes, context: str | None) -> InvokeResult:
        return result({"errorMessage": "Task timed out after 900.00 seconds"}, "Unhandled")

    stack.endpoint.on_invoke = invoke
    code, out, err = await make_model(stack, "--outputs", outputs)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "Task timed out after 900.00 seconds" in err
    assert "/aws/lambda/tl-fif-dev-model-fetch" in err


async def test_what_aws_refuses_is_one_line(stack: ModelStack, outputs: Path) -> None:
    stack.endpoint.on_invoke = None
    code, out, err = await make_model(stack, "--outputs", outputs)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert re.match(r"tl-fif: AWS does not do it: .*ResourceNotFound", err)


@pytest.mark.parametrize("told", ['{"replies_bucket": "b"}', "[]", "no json"])
async def test_a_stack_without_the_outputs_is_said_so(
    told: str, stack: ModelStack, outputs: Path
) -> None:
    await asyncio.to_thread(outputs.write_text, told)
    code, out, err = await make_model(stack, "--outputs", outputs)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "output" in err

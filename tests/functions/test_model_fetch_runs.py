"""Runs that are killed, run at the same time, or meet an S3 that fails: in the end the weights are
there, and never before they are whole.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from support.model_hubs import Request
from support.model_stack import CONTENT, PART, ModelStack
from support.world import BUCKET, NO_BUCKET

from local.aws.faults import Fault
from model_fetch import bucket as buckets
from model_fetch import handler as handlers
from tlfif import names

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]

ROOT = Path(__file__).parents[2]
# Calls the function once in a process of its own, as Lambda does, and says what memory it took.
ALONE = """
import json, types
from model_fetch.handler import handler
left = types.SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000)
answer = handler({}, left)
# Not by getrusage, which counts what the process was before it became this one.
status = dict(line.split(":") for line in open("/proc/self/status"))
print(json.dumps({**answer, "peak_kb": int(status["VmHWM"].split()[0])}))
"""


async def alone(stack: ModelStack) -> asyncio.subprocess.Process:
    """A run with the function's own part size, which one can kill."""
    paths = os.pathsep.join([str(ROOT / "functions"), str(ROOT)])
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ALONE,
        env={**os.environ, **stack.environment(), "PYTHONPATH": paths},
        stdout=asyncio.subprocess.PIPE,
    )


async def sent(stack: ModelStack, count: int) -> None:
    """Waits until the hub has sent so many bytes."""
    async with asyncio.timeout(60):
        # Its threads count them, and tell nobody.
        while stack.hub.sent < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def answer_of(process: asyncio.subprocess.Process) -> dict[str, Any]:
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out.decode().splitlines()[-1])


# --- S3


@pytest.mark.parametrize(
    "operation",
    [
        "CreateMultipartUpload",
        "UploadPart",
        "ListParts",
        "ListMultipartUploads",
        "CompleteMultipartUpload",
        "GetObject",
        "CopyObject",
        "DeleteObject",
    ],
)
async def test_an_s3_that_refuses_is_said_so_and_the_next_run_goes_on(
    operation: str, model_stack: ModelStack
) -> None:
    refusing = Fault("s3", operation, status=403, code="AccessDenied", times=None)
    with model_stack.endpoint.faults.injected(refusing):
        answer = await model_stack.run()
    assert answer["ok"] is False
    assert "S3 does not take the weights (AccessDenied" in answer["message"]
    before = model_stack.hub.sent
    assert (await model_stack.run())["ok"]
    if operation in ("GetObject", "CopyObject", "DeleteObject"):
        assert model_stack.hub.sent == before, "what has arrived is not fetched again"


@pytest.mark.parametrize("operation", ["*", "UploadPart", "CompleteMultipartUpload", "CopyObject"])
@pytest.mark.parametrize("after", [False, True])
async def test_an_s3_that_stumbles_is_asked_again(
    operation: str, after: bool, model_stack: ModelStack
) -> None:
    """Also when only the answer is lost."""
    fault = Fault("s3", operation, status=503, code="SlowDown", after=after, times=2)
    model_stack.endpoint.faults.add(fault)
    assert (await model_stack.run())["ok"]
    assert fault.times == 0
    model_stack.assert_whole()


async def test_a_role_that_was_made_a_moment_ago_is_waited_for(
    model_stack: ModelStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PROPAGATION_S", 30)
    fault = Fault("s3", "HeadObject", status=403, code="AccessDenied", times=2)
    model_stack.endpoint.faults.add(fault)
    assert (await model_stack.run())["ok"]
    model_stack.assert_whole()


async def test_a_role_that_stays_refused_is_said_so(model_stack: ModelStack) -> None:
    fault = Fault("s3", "HeadObject", status=403, code="403", times=None)
    model_stack.endpoint.faults.add(fault)
    answer = await model_stack.run()
    assert answer["ok"] is False
    assert "S3 does not take the weights (403" in answer["message"]


async def test_a_bucket_that_is_gone_is_said_so(
    model_stack: ModelStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLFIF_REPLIES_BUCKET", NO_BUCKET)
    answer = await model_stack.run()
    assert answer["ok"] is False
    assert "NoSuchBucket" in answer["message"]


@pytest.mark.parametrize("missing", ["TLFIF_MODEL_URL", "TLFIF_REPLIES_BUCKET", "TLFIF_STACK"])
async def test_nothing_is_raised_even_when_it_is_told_nothing(
    missing: str, model_stack: ModelStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(missing)
    answer = await model_stack.run()
    assert answer["ok"] is False
    assert missing in answer["message"]


# --- ends in the middle


class Killed(BaseException):
    """The process ends here, as far as the function can tell."""


class Dying:
    """A client that ends its process before or after its n-th call, from whichever thread."""

    def __init__(self, real: Any, dies_at: int, after: bool) -> None:
        self._real, self._left, self._after = real, dies_at, after

    def __getattr__(self, name: str) -> Any:
        made = getattr(self._real, name)
        if name in ("close", "get_paginator"):
            return made

        def call(**arguments: Any) -> Any:
            self._left -= 1
            if self._left < 0 or (self._left == 0 and not self._after):
                raise Killed
            answer = made(**arguments)
            if self._left == 0:
                raise Killed
            return answer

        return call


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_run_that_ends_at_any_call_is_gone_on_with(
    after: bool, model_stack: ModelStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is visible under the weights' name is whole, at every such moment."""
    make = handlers.aws.client
    key = names.model_key(model_stack.hub.sha256)
    died = 0
    for dies_at in range(1, 100):
        model_stack.empty()

        def dying(*told: Any, n: int = dies_at, **options: Any) -> Any:
            return Dying(make(*told, **options), n, after)

        with monkeypatch.context() as patched:
            patched.setattr(handlers.aws, "client", dying)
            with contextlib.suppress(Killed):
                await model_stack.run()
                break
        died += 1
        if key in model_stack.listed():
            found = model_stack.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
            assert found == CONTENT
        assert (await model_stack.run())["ok"], f"after call {dies_at}"
        model_stack.assert_is_there()
    assert died >= 10


async def test_a_killed_run_is_gone_on_with_and_little_comes_twice(
    model_stack: ModelStack,
) -> None:
    hub = model_stack.hub
    hub.content = random.Random(8).randbytes(150_000_000)
    part = 16 << 20
    hub.always = lambda request: request.serve(pause_s=0.002)
    process = await alone(model_stack)
    await sent(model_stack, 70_000_000)
    process.kill()
    await process.wait()
    assert model_stack.listed() == []
    assert model_stack.uploads() == [names.incoming_key(hub.sha256)]
    hub.always = None
    answer = await answer_of(await alone(model_stack))
    assert answer["ok"], answer
    model_stack.assert_whole()
    # What four threads had in hand, and what the kernel had taken for a reader that was gone.
    assert hub.sent - len(hub.content) <= 4 * part + 16_000_000
    assert answer["peak_kb"] < 400_000, "of Lambda's 512 MB"


# --- at the same time


@pytest.mark.parametrize("runs", [2, 4])
async def test_runs_at_the_same_time_do_not_hurt_each_other(
    runs: int, model_stack: ModelStack
) -> None:
    model_stack.hub.always = lambda request: request.serve(pause_s=0.0005)
    answers = await asyncio.gather(*(model_stack.run() for _ in range(runs)))
    assert [each["ok"] for each in answers] == [True] * runs, answers
    model_stack.assert_is_there()
    assert (await model_stack.run())["ok"]


async def test_one_of_two_at_the_same_time_is_killed(model_stack: ModelStack) -> None:
    model_stack.hub.always = lambda request: request.serve(pause_s=0.002)
    first, second = await asyncio.gather(alone(model_stack), alone(model_stack))
    await sent(model_stack, PART)
    first.kill()
    assert (await answer_of(second))["ok"]
    await first.wait()
    model_stack.assert_is_there()


async def test_another_run_that_is_faster_is_noticed(model_stack: ModelStack) -> None:
    """The upload that a run works on is completed, checked and gone while it works."""
    others: list[Any] = []

    def slow(request: Request) -> None:
        if not others:
            others.append(None)
            model_stack.put_whole()
        request.serve()

    model_stack.hub.always = slow
    assert (await model_stack.run())["ok"]
    model_stack.assert_is_there()

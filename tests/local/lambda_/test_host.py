"""The function host and real bundles, under AWS's own runtime client."""

import asyncio
import itertools
import json
import os
import re
from pathlib import Path

import pytest
from support import calm
from support.functions import ARN, MakeHost, call, failure

from components import bundle
from local.lambda_ import host as functions
from local.lambda_.model import LambdaApiError
from local.lambda_.worker import RUNTIME_CLIENT

pytestmark = pytest.mark.integration


async def test_an_event_and_its_context_arrive_as_on_lambda(make_host: MakeHost):
    host = make_host(
        "def handler(event, context):\n"
        "    client = context.client_context\n"
        "    of = [context.aws_request_id, context.invoked_function_arn, context.function_name]\n"
        "    limits = [context.memory_limit_in_mb, context.get_remaining_time_in_millis()]\n"
        "    return [event, *of, *limits, client and client.custom]\n",
        timeout_s=5.0,
    )
    result = await host.invoke(b'{"\xc3\xa4": 1}', client_context='{"custom": {"k": "v"}}')
    event, request_id, arn, name, memory, remaining, client = json.loads(result.payload)
    assert (event, arn, name, memory, client) == ({"ä": 1}, f"{ARN}f", "f", "512", {"k": "v"})
    assert request_id == result.request_id
    assert 4000 < remaining <= 5000
    assert result.error is None
    assert 0 < result.duration_ms < 1000


async def test_the_environment_is_the_programs_and_lambdas_and_nothing_else(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LEAKED_FROM_THE_PARENT", "1")
    code = "import os\ndef handler(event, context): return dict(os.environ)\n"
    host = make_host(
        code,
        environment={"TLFIF_STACK": "dev"},
        extra_env={"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
    )
    environment = await call(host)
    own = {
        name: value
        for name, value in environment.items()
        if name.startswith(("TLFIF_", "AWS_ENDPOINT"))
    }
    assert own == {"TLFIF_STACK": "dev", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    assert (environment["AWS_REGION"], environment["AWS_ACCESS_KEY_ID"]) == (
        "eu-west-1",
        "AKIAROLE",
    )
    assert environment["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/f"
    libraries = [Path(each) for each in environment["LD_LIBRARY_PATH"].split(":")]
    task = Path(environment["LAMBDA_TASK_ROOT"])
    assert libraries[-2:] == [task, task / "lib"], "as /var/task:/var/task/lib"
    others = {name for name in environment if not name.startswith(("AWS_", "TLFIF_", "LAMBDA_"))}
    # LC_CTYPE is Python's own doing, when the locale of LANG is not installed.
    assert others - {"LC_CTYPE", "_"} == {
        "PATH",
        "LD_LIBRARY_PATH",
        "TMPDIR",
        "LANG",
        "TZ",
        "PYTHONPATH",
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
    }


async def test_a_variable_that_the_program_does_not_declare_is_missed(make_host: MakeHost):
    host = make_host(
        "import os\ndef handler(event, context): return os.environ['TLFIF_REDIS_HOST']\n"
    )
    error = failure(await host.invoke(b"{}"))
    assert (error["errorType"], error["errorMessage"]) == ("KeyError", "'TLFIF_REDIS_HOST'")


def test_the_local_cloud_cannot_add_a_variable_that_the_program_should_declare(make_host: MakeHost):
    with pytest.raises(ValueError, match="extra_env holds 'TLFIF_REDIS_HOST'"):
        make_host("def handler(event, context): pass\n", extra_env={"TLFIF_REDIS_HOST": "x"})


async def test_a_dependency_missing_from_the_bundle_is_missed(make_host: MakeHost):
    # httpx is installed beside this test, as it would be beside a developer's handler; Lambda has
    # none.
    host = make_host("import httpx\ndef handler(event, context): pass\n")
    error = failure(await host.invoke(b"{}"))
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert error["errorMessage"] == "Unable to import module 'f.handler': No module named 'httpx'"


async def test_a_dependency_in_the_bundle_and_boto3_of_the_runtime_are_found(make_host: MakeHost):
    code = (
        "import boto3, six\n"
        "def handler(event, context): return [six.__file__, boto3.__file__, __file__]\n"
    )
    of_bundle, of_runtime, own = await call(make_host(code, requirements="six\n"))
    assert Path(of_bundle).parent == Path(own).parent.parent
    assert Path(of_runtime).is_relative_to(bundle.ROOT / ".cache/packages")


async def test_an_exception_is_answered_and_the_worker_goes_on(make_host: MakeHost):
    host = make_host(
        "import os\ndef handler(event, context): return os.getpid() if event else {}[0]\n"
    )
    worker = await call(host, 1)
    result = await host.invoke(b"0")
    assert failure(result)["errorType"] == "KeyError"
    assert "[ERROR] KeyError: 0" in result.log_tail
    assert await call(host, 1) == worker


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ("os._exit(3)", "Runtime exited with error: exit status 3"),
        ("sys.exit(0)", "Runtime exited without providing a reason"),
        ("os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
    ],
)
async def test_a_crash_is_answered_and_the_next_call_gets_a_new_worker(
    make_host: MakeHost, death: str, reason: str
):
    code = (
        "import os, sys\n"
        "def handler(event, context):\n"
        f"    if event: {death}\n"
        "    return os.getpid()\n"
    )
    host = make_host(code)
    crashed = await call(host, 0)
    result = await host.invoke(b"1")
    message = f"RequestId: {result.request_id} Error: {reason}"
    assert failure(result) == {"errorType": "Runtime.ExitError", "errorMessage": message}
    assert message in result.log_tail
    again = await host.invoke(b"0")
    assert again.cold
    assert json.loads(again.payload) != crashed


async def test_the_functions_own_time_limit_ends_it(make_host: MakeHost):
    code = (
        "import time\n"
        "def handler(event, context):\n"
        "    print('working')\n"
        "    time.sleep(event)\n"
        "    return 'slept'\n"
    )
    host = make_host(code, timeout_s=0.5)
    await host.start()
    before = calm.now()
    result = await host.invoke(b"60")
    assert calm.now() - before < 2.0
    message = f"RequestId: {result.request_id} Error: Task timed out after 0.50 seconds"
    assert failure(result) == {"errorType": "Sandbox.Timedout", "errorMessage": message}
    assert result.log_tail.splitlines() == ["working", f"{message} Sandbox.Timedout"]
    assert await call(host, 0) == "slept"


async def test_an_answer_in_the_moment_of_the_time_out_leaves_its_worker_alone(make_host: MakeHost):
    host = make_host("import os\ndef handler(event, context): return os.getpid()\n")
    worker_pid = await call(host, 0)
    [worker] = host._idle
    worker._time_out(0.5)
    await asyncio.sleep(0.2)
    assert await call(host, 0) == worker_pid


async def test_a_handler_that_is_not_there_is_answered_as_by_lambda(make_host: MakeHost):
    host = make_host("", handler="f.handler.absent")
    error = failure(await host.invoke(b"{}"))
    assert error["errorType"] == "Runtime.HandlerNotFound"


async def test_an_init_phase_that_dies_or_hangs_is_answered(make_host: MakeHost):
    dies = make_host("import os; os._exit(5)\n")
    assert failure(await dies.invoke(b"{}"))["errorType"] == "Runtime.ExitError"
    hangs = make_host("import time; time.sleep(60)\n", name="g", init_timeout_s=0.3)
    error = failure(await hangs.invoke(b"{}"))
    assert error["errorMessage"].endswith("Task timed out after 0.30 seconds")


async def test_restarts_after_failures_are_spaced_more_and_more(make_host: MakeHost):
    host = make_host("import os, time; print('starting at', time.monotonic()); os._exit(5)\n")
    started: list[float] = []
    for _ in range(4):
        result = await host.invoke(b"{}")
        told = re.search(r"starting at ([\d.]+)", result.log_tail)
        assert told
        started.append(float(told[1]))
    gaps = [later - earlier for earlier, later in itertools.pairwise(started)]
    assert [gap >= least for gap, least in zip(gaps, (0.1, 0.2, 0.4), strict=True)] == [True] * 3


async def test_a_started_host_is_warm_and_an_unstarted_one_is_cold_once(make_host: MakeHost):
    host = make_host("def handler(event, context): return event\n")
    assert [(await host.invoke(b"1")).cold for _ in range(3)] == [True, False, False]
    started = make_host("def handler(event, context): return event\n", name="g")
    await started.start()
    assert not (await started.invoke(b"1")).cold


async def test_calls_run_beside_each_other_up_to_the_number_of_workers(
    make_host: MakeHost, tmp_path: Path
):
    # Each call waits for the other's file: only two at a time can end.
    code = (
        "import os, pathlib, time\n"
        "def handler(event, context):\n"
        "    folder = pathlib.Path(event['folder']); (folder / event['mine']).touch()\n"
        "    while not (folder / event['other']).exists(): time.sleep(0.01)\n"
        "    return os.getpid()\n"
    )
    host = make_host(code, workers=2)
    events = [
        {"folder": str(tmp_path), "mine": mine, "other": other} for mine, other in ("ab", "ba")
    ]
    assert len(set(await asyncio.gather(*(call(host, event) for event in events)))) == 2


async def test_more_calls_than_workers_wait_and_then_are_refused_with_429(
    make_host: MakeHost, tmp_path: Path
):
    code = (
        "import pathlib, time\n"
        "def handler(event, context):\n"
        "    while not pathlib.Path(event).exists(): time.sleep(0.01)\n"
        "    return event\n"
    )
    patient, there = make_host(code), str(tmp_path)
    await patient.start()
    assert await asyncio.gather(*(call(patient, there) for _ in range(2))) == [there, there]
    host, released = make_host(code, name="g", wait_s=0.3), tmp_path / "released"
    await host.start()
    busy = asyncio.create_task(call(host, str(released)))
    await asyncio.sleep(0.05)
    with pytest.raises(LambdaApiError) as caught:
        await host.invoke(b'"."')
    assert (caught.value.status, caught.value.code) == (429, "TooManyRequestsException")
    released.touch()
    assert await busy == str(released)


async def test_a_caller_that_leaves_does_not_stop_the_function(make_host: MakeHost, tmp_path: Path):
    code = (
        "import time, pathlib\n"
        "def handler(event, context): time.sleep(0.3); pathlib.Path(event).touch()\n"
    )
    host = make_host(code)
    await host.start()
    done = tmp_path / "done"
    with pytest.raises(TimeoutError):
        await host.invoke(json.dumps(str(done)).encode(), timeout=0.05)
    await call(host, str(tmp_path / "next"))
    assert done.exists()


async def test_every_line_is_delivered_before_the_answer(make_host: MakeHost, tmp_path: Path):
    code = (
        "import logging\n"
        "def handler(event, context):\n"
        "    print('to stdout', event)\n"
        "    logging.warning('logged')\n"
    )
    heard: list[tuple[str, str]] = []
    host = make_host(code, on_log=lambda function, line: heard.append((function, line)))
    for number in range(20):
        heard.clear()
        result = await host.invoke(str(number).encode())
        assert heard[-2] == ("f", f"to stdout {number}")
        assert heard[-1][1].endswith(f"{result.request_id}\tlogged")
        assert result.log_tail.endswith("\tlogged\n")
    assert "to stdout 19" in (tmp_path / "logs/f.log").read_text()


async def test_a_log_tail_holds_the_last_4_kb(make_host: MakeHost):
    host = make_host("def handler(event, context):\n    for n in range(1000): print('line', n)\n")
    result = await host.invoke(b"0")
    assert len(result.log_tail) <= 4096
    assert result.log_tail.endswith("line 998\nline 999\n")


async def test_payloads_up_to_lambdas_limit_pass_and_larger_ones_do_not(make_host: MakeHost):
    host = make_host(
        "def handler(event, context): return 'x' * event if isinstance(event, int) else event\n"
    )
    assert await call(host, "y" * 6_000_000) == "y" * 6_000_000
    with pytest.raises(LambdaApiError) as caught:
        await host.invoke(b'"' + b"y" * 6_291_455 + b'"')
    assert (caught.value.status, caught.value.code) == (413, "RequestTooLargeException")
    assert failure(await host.invoke(b"6300000"))["errorType"] == "Function.ResponseSizeTooLarge"
    assert await call(host, 1) == "x"


async def test_an_error_of_a_megabyte_is_answered(make_host: MakeHost):
    host = make_host("def handler(event, context): raise ValueError('x' * 900_000)\n")
    assert len(failure(await host.invoke(b"0"))["errorMessage"]) == 900_000


async def test_a_worker_killed_while_idle_is_replaced(make_host: MakeHost):
    host = make_host("import os\ndef handler(event, context): return os.getpid()\n")
    worker = await call(host)
    os.kill(worker, 9)
    async with asyncio.timeout(10):
        while host._idle:  # noqa: ASYNC110 - until the host has heard of it
            await asyncio.sleep(0.01)
    assert await call(host) != worker


async def test_stopping_answers_the_call_in_flight_and_refuses_the_next(make_host: MakeHost):
    heard = asyncio.Event()
    code = "import time\ndef handler(event, context):\n    print('in')\n    time.sleep(60)\n"
    host = make_host(code, on_log=lambda *_: heard.set())
    busy = asyncio.create_task(host.invoke(b"0"))
    await heard.wait()
    await host.stop()
    assert failure(await busy)["errorMessage"].endswith("signal: terminated")
    with pytest.raises(LambdaApiError, match="the host of f has stopped"):
        await host.invoke(b"0")


async def test_the_stand_in_for_the_native_client_behaves_alike(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
):
    # As on macOS, where awslambdaric has no native module: here the stand-in comes first on the
    # path.
    path = f"{RUNTIME_CLIENT}{os.pathsep}{functions.runtime_dir()}"
    monkeypatch.setattr(functions, "runtime_dir", lambda: path)
    code = (
        "import runtime_client\n"
        "def handler(event, context): return runtime_client.__file__ if event else {}[event]\n"
    )
    host = make_host(code)
    assert (await call(host, 1)).endswith("runtime_client.py")
    assert failure(await host.invoke(b"0"))["errorType"] == "KeyError"
    assert (await call(host, 1)).endswith("runtime_client.py")

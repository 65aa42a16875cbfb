"""The instant lane's own Lambda bundle, with the real engine, under AWS's runtime client."""

import asyncio
import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support import jobs
from support.lanes import settings
from support.watchers import BUCKET

from components import bundle, packages
from cpu_worker.engine import Llama, threads
from cpu_worker.failure import LaneFailure
from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.lambda_ import host as hosts
from local.lambda_ import worker
from local.lambda_.host import FunctionHost
from local.lambda_.model import FunctionSpec
from local.machine.processes import Processes
from local.machine.valkey import Valkey
from local.node import model_file
from tlfif import environment as environments
from tlfif import names
from tlfif.queue import scripts
from tlfif.queue.conversation import Message

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]


MINKA: list[Message] = [
    {"role": "user", "content": "My cat is called Minka."},
    {"role": "assistant", "content": "Minka is a nice name for a cat."},
    {"role": "user", "content": "What is the name of my cat?"},
]


@pytest.fixture(scope="module")
def weights() -> Path:
    try:
        return model_file.shipped()
    except model_file.ModelMissingError as error:
        pytest.skip(str(error))


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_the_engine_answers_and_rests_and_ends_with_its_parent(weights: Path):
    engine = Llama(slots=2)
    try:
        await asyncio.to_thread(engine.load, weights)
        assert engine.is_up
        process = engine._process
        assert process is not None
        before_s = cpu_s(process.pid)
        await asyncio.sleep(2.0)
        assert cpu_s(process.pid) - before_s < 0.1, "threads that wait use a processor"
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.to_thread(process.wait, 10) == 0
        assert not engine.is_up
    finally:
        engine.stop()


@pytest.mark.parametrize("what", ["cut off", "no weights", "not there"])
def test_weights_that_are_none_are_a_failure_that_says_so(weights: Path, tmp_path: Path, what: str):
    path = tmp_path / "weights.gguf"
    if what == "cut off":
        path.write_bytes(weights.read_bytes()[:5_000_000])
    elif what == "no weights":
        path.write_text("so it goes")
    engine = Llama(slots=2)
    with pytest.raises(LaneFailure, match="did not load the weights") as caught:
        engine.load(path)
    assert caught.value.code == "EngineFailed"
    assert not engine.is_up


def test_an_engine_that_takes_too_long_is_ended(weights: Path):
    engine = Llama(slots=2, load_timeout_s=0.05)
    with pytest.raises(LaneFailure, match="it was killed"):
        engine.load(weights)


def test_memory_buys_the_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    bought = {1_024: 1, 1_769: 1, 3_008: 2, 5_308: 4, 10_240: 6}
    told = {size: threads({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(size)}) for size in bought}
    assert told == bought
    assert threads({}) == 6


def python_3_12() -> str:
    try:
        return packages._lambda_python()
    except packages.BundleError as error:
        pytest.skip(str(error))


@pytest.mark.skipif(
    (sys.platform, os.uname().machine) != ("linux", "x86_64"), reason="the bundle is for x86_64"
)
async def test_the_lambda_bundle_itself_answers_here(
    procs: Processes,
    moto: Moto,
    endpoint: Endpoint,
    valkey: Valkey,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    python = python_3_12()
    data = await asyncio.to_thread(weights.read_bytes)
    sha256 = hashlib.sha256(data).hexdigest()
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=names.model_key(sha256), Body=data)
    told = settings(valkey.port, model_key=names.model_key(sha256), model_sha256=sha256)
    spec = FunctionSpec(
        name="cpu_worker",
        arn="arn:aws:lambda:us-east-1:123456789012:function:cpu_worker",
        handler="cpu_worker.handler.handler",
        zip_path=await asyncio.to_thread(bundle.build, "cpu_worker", "lambda"),
        environment=environments.CpuWorker.variables(**vars(told)),
        timeout_s=900,
        memory_mb=3_008,
        role_access_key=endpoint.operator,
    )
    under_python_3_12(monkeypatch, python, tmp_path)
    host = FunctionHost(procs, spec, extra_env={"AWS_ENDPOINT_URL": endpoint.url})
    try:
        with contextlib.closing(scripts.connect("127.0.0.1", valkey.port)) as queue:
            for cold in (True, False):
                asked = (
                    {"prompt": "What is the capital of France?"} if cold else {"messages": MINKA}
                )
                job = jobs.new_job(options={"max_tokens": 4, "temperature": 0}, **asked)
                jobs.accept(queue, job)
                result = await host.invoke(b'{"token": "test"}')
                assert json.loads(result.payload) == {"outcome": "left"}, result.log_tail
                assert result.cold is cold
                body = s3.get_object(Bucket=BUCKET, Key=job.reply_key)["Body"].read()
                reply: dict[str, Any] = json.loads(body)
                assert (reply["status"], reply["engine"]) == ("done", names.LANE_ENGINE)
                assert reply["text"]
                assert reply["completion_tokens"] == 4
                assert cold or "Minka" in reply["text"]
    finally:
        await host.stop()


def under_python_3_12(monkeypatch: pytest.MonkeyPatch, python: str, tmp_path: Path) -> None:
    """The worker's Python is Lambda's, and so are its library path and its disk."""
    pins = packages.ROOT / "requirements-local.txt"
    runtime = packages.install(("awslambdaric", "boto3"), pins, "lambda", architecture="x86_64")
    usual = worker.environment

    def environment(function: FunctionSpec, task: Path, runtime: Path) -> dict[str, str]:
        variables = usual(function, task, runtime)
        return variables | {"LD_LIBRARY_PATH": str(task / "lib"), "TMPDIR": str(tmp_path)}

    monkeypatch.setattr(hosts, "runtime_dir", lambda: runtime)
    monkeypatch.setattr(hosts, "environment", environment)
    monkeypatch.setattr(worker.sys, "executable", python)

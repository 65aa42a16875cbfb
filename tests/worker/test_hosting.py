"""A worker is a library (EC2-003): a host of another kind than a node runs it, without a machine,
a heartbeat or a supervisor around it.
"""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis.asyncio import Redis
from support.calls import ClientOf
from support.scripted_model import WORD, scripted_model
from support.watchers import BUCKET, Bench, until

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.machine.valkey import Valkey
from tlfif import names
from tlfif.queue import scripts
from worker.consumer import Consumer
from worker.host import Ended
from worker.model import Model
from worker.queue import Queue
from worker.replies import Replies
from worker.tasks import end

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.story("EC2-003")


class Function:
    """A host as a function is one: works until nothing is left, then hands back and returns."""

    def __init__(self) -> None:
        self.ended: list[Ended] = []

    def job_ended(self, job: Ended) -> None:
        self.ended.append(job)

    async def engine_changed(self, ready: bool) -> None:
        pass

    async def restart_engine(self, why: str) -> None:
        pass


@pytest.mark.integration
async def test_a_function_can_host_it(
    moto: Moto, endpoint: Endpoint, valkey: Valkey, client_of: ClientOf
) -> None:
    moto.client("s3").create_bucket(Bucket=BUCKET)
    host = Function()
    with (
        contextlib.closing(scripts.connect("127.0.0.1", valkey.port)) as client,
        ThreadPoolExecutor(4) as pool,
    ):
        async with (
            scripted_model() as engine,
            Redis(host="127.0.0.1", port=valkey.port, decode_responses=True) as redis,
            Model(engine.url, "tinyllama") as model,
        ):
            bench = Bench(client, moto.client("s3"), endpoint, client_of, engine, valkey)
            jobs = [bench.submit(f"tokens={number}", idle_minutes=7) for number in (1, 2, 3)]
            replies = Replies(lambda: client_of("s3"), BUCKET, "lambda-1:a", pool)
            consumer = Consumer(
                Queue(redis, "lambda-1:a"), model, replies, host, 2,
                engine="llama.cpp", eur_per_hour=None,
            )  # fmt: skip
            running = asyncio.create_task(consumer.run())
            await until(lambda: not client.xlen(names.STREAM))
            await consumer.close(0, asyncio.Event())
            await end(running)
            texts = [(bench.reply(job) or {})["text"] for job in jobs]
    assert texts == [WORD, 2 * WORD, 3 * WORD]
    assert [(job.idle_minutes, job.answered) for job in host.ended] == [(7, True)] * 3
    assert all((job.first_ms or 0) >= job.work_ms >= 0 for job in host.ended)


@pytest.mark.parametrize("word", ["ec2", "imds", "metadata", "supervisor", "sigterm", "instance-"])
def test_it_knows_nothing_of_machines(word: str) -> None:
    for source in (ROOT / "worker").glob("*.py"):
        assert word not in source.read_text().lower(), source.name

"""The queue on a real Valkey: accepted jobs per second on one connection, the server's time for
one while many wait, memory per job and after they expired.

Jobs go in, nobody takes them, they expire, and the guardian's own code answers each in moto's S3.

    python -m bench.queue [jobs]
"""

import asyncio
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import redis

from bench.arguments import how_many
from local.aws.moto import start_moto
from local.machine.processes import Processes
from local.machine.valkey import start_valkey
from tlfif import names, replies
from tlfif.queue import accepting, guarding, lane, scripts

BUCKET, PROMPT = "replies", "x" * 1000
WAITING = 500
# None may expire by itself before the last is in.
LIMITS = accepting.Limits(
    backlog_cap=10**9, burst=10**6, sustained=names.SUSTAINED_PER_MINUTE, ttl_s=86_400
)


async def main(jobs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Processes(Path(folder)) as procs:
            moto, valkey = await start_moto(procs, "us-east-1"), await start_valkey(procs)
            moto.client("s3").create_bucket(Bucket=BUCKET)
            s3 = boto3.client(
                "s3",
                "us-east-1",
                endpoint_url=moto.url,
                aws_access_key_id="k",
                aws_secret_access_key="s",
            )
            with valkey.operator(decode_responses=True) as client:
                await asyncio.to_thread(measure_accept, client)
                await asyncio.to_thread(measure, client, s3, jobs)


def measure_accept(client: "redis.Redis") -> None:
    """Prints the server's time for one accept while others wait, with and without a lane."""
    for name, policy, is_there in (
        ("without a lane", None, False),
        ("lane called", lane.Lane(), False),
        ("lane at work", lane.Lane(), True),
        ("by backlog", lane.Lane("backlog"), True),
    ):
        client.flushall()
        accept(client, WAITING)
        for ms in range(names.LANE_HISTORY_BOUND):
            scripts.run(client, lane.answered(ms, ms))
        if is_there:
            scripts.run(client, lane.enter("t"))
            scripts.run(client, lane.beat("t", "working", 1, 1.0))
        client.config_resetstat()
        accept(client, WAITING, policy)
        stats: Any = client.info("commandstats")
        spent = stats["cmdstat_evalsha"]["usec_per_call"]
        print(f"accept       {spent:,.0f} us of the server's time, {name}", flush=True)


def measure(client: "redis.Redis", s3: object, jobs: int) -> None:
    """Prints every figure as it is known."""
    accept(client, 100)
    client.flushall()
    start = used(client)
    began = time.perf_counter()
    ids = accept(client, jobs)
    seconds = time.perf_counter() - began
    rate = f"{jobs / seconds:,.0f}/s on one connection"
    print(f"accepted     {jobs:,} jobs of {len(PROMPT)} bytes at {rate}", flush=True)
    print(f"memory       {(used(client) - start) / jobs:,.0f} bytes a job", flush=True)
    expire(client, ids)
    began, answered = time.perf_counter(), 0
    cursor, more = "", True
    while more:
        cursor, pending = scripts.run(client, guarding.sweep(cursor, ttl_s=0))
        if pending:
            written, why = replies.write_all(s3, BUCKET, pending, "guardian", time.monotonic() + 60)
            assert not why, why
            scripts.run(client, guarding.clear([reply.id for reply in written]))
            answered += len(written)
        more = cursor != ""
    print(
        f"answered     {answered:,} as expired in {time.perf_counter() - began:,.0f} s", flush=True
    )
    # Rate limits (60 s) and the right to wake (120 s) end by themselves; the stream's key stays,
    # empty.
    deadline = time.monotonic() + names.WAKE_TTL_S + 5
    while client.dbsize() > 1 and time.monotonic() < deadline:
        time.sleep(1)
    left = f"{used(client):,} after, with {client.dbsize()} key left"
    print(f"memory       {start:,} bytes before, {left}", flush=True)


def accept(client: "redis.Redis", jobs: int, policy: lane.Lane | None = None) -> list[str]:
    """Accepts as many jobs, each of another user: the rate limit must not decide the figure.

    Their ids.
    """
    ids = [str(uuid.uuid4()) for _ in range(jobs)]
    for number, job_id in enumerate(ids):
        job = accepting.NewJob(id=job_id, sub=f"user-{number}", prompt=PROMPT, idle_minutes=5)
        answer = scripts.run(client, accepting.accept(job, replace(LIMITS, lane=policy)))
        assert isinstance(answer, accepting.Accepted), answer
    return ids


def expire(client: "redis.Redis", ids: list[str]) -> None:
    """Lets Redis expire these jobs now."""
    with client.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.pexpire(names.job_key(job_id), 1)
        pipeline.execute()
    time.sleep(1)


def used(client: "redis.Redis") -> int:
    """The server's memory in use, in bytes."""
    found = client.info("memory")
    return int(found["used_memory"])  # type: ignore[index]


if __name__ == "__main__":
    asyncio.run(main(how_many(__doc__, "jobs", 10_000)))

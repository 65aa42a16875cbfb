"""A whole local node with the real model: boot, answers, crashes of its parts, and the stop it does
by itself.
"""

import asyncio
import json
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
import redis
from support.calls import eventually

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.machine.processes import Processes
from local.machine.valkey import Valkey
from local.node.node import LocalNode
from tlfif import names, replies
from tlfif.queue import accepting, scripts

pytestmark = pytest.mark.integration

BUCKET, STACK = "replies-of-dev", "dev"
TRUST = '{"Version": "2012-10-17", "Statement": []}'
LONG = "Write a long story about a lighthouse keeper and his cat."


@dataclass
class Stack:
    """A queue, a bucket that keeps every version, and one node, as a stack on AWS has them."""

    redis: "redis.Redis"
    moto: Moto
    endpoint: Endpoint
    node: LocalNode
    logs: list[dict[str, Any]] = field(default_factory=list)

    def submit(self, prompt: str, idle_minutes: int = 30, **options: Any) -> accepting.NewJob:
        job = accepting.NewJob(
            id=str(uuid.uuid4()),
            sub="ada",
            prompt=prompt,
            idle_minutes=idle_minutes,
            options=options,
        )
        assert isinstance(
            scripts.run(self.redis, accepting.accept(job, accepting.Limits())), accepting.Accepted
        )
        return job

    async def start(self) -> None:
        await self.endpoint.instances.start([self.node.instance_id])

    async def is_stopped(self) -> bool:
        return await self.endpoint.instances.state(self.node.instance_id) == "stopped"

    async def ready(self) -> None:
        await until(
            lambda: (
                [node["phase"] for node in scripts.run(self.redis, accepting.status()).nodes]
                == ["ready"]
            )
        )

    def reply(self, job: accepting.NewJob) -> dict[str, Any]:
        found = replies.read(self.moto.client("s3"), BUCKET, job.reply_key)
        return found[0] if found else {"status": "", "text": ""}

    async def final(self, job: accepting.NewJob) -> dict[str, Any]:
        """The final reply; it is the only one, and the last thing written."""
        await until(
            lambda: (
                not self.redis.exists(names.job_key(job.id))
                and self.reply(job)["status"] in replies.FINAL
            )
        )
        s3 = self.moto.client("s3")
        versions = s3.list_object_versions(Bucket=BUCKET, Prefix=job.reply_key)["Versions"]
        bodies = [
            s3.get_object(Bucket=BUCKET, Key=job.reply_key, VersionId=each["VersionId"])
            for each in versions
        ]
        finals = [
            body
            for body in (json.loads(each["Body"].read()) for each in bodies)
            if body["status"] != "running"
        ]
        assert finals == [self.reply(job)]
        return finals[0]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.logs if line["event"] == event]


async def until(condition: Callable[[], object], timeout_s: float = 40) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "still not so"
        await asyncio.sleep(0.03)


def make_instance(moto: Moto, valkey: Valkey) -> str:
    """A stopped instance with its role and user data, and its stack's parameter; its id."""
    iam, ec2 = moto.client("iam"), moto.client("ec2")
    iam.create_role(RoleName="node", AssumeRolePolicyDocument=TRUST)
    iam.create_instance_profile(InstanceProfileName="node-profile")
    iam.add_role_to_instance_profile(InstanceProfileName="node-profile", RoleName="node")
    told = {
        "TLFIF_STACK": STACK,
        "TLFIF_REGION": "us-east-1",
        "TLFIF_REDIS_HOST": valkey.host,
        "TLFIF_REDIS_PORT": str(valkey.port),
        "TLFIF_REPLIES_BUCKET": BUCKET,
        "TLFIF_MODEL": names.SERVED_MODEL,
        "TLFIF_GPU_SLOTS": "4",
        "TLFIF_IDLE_MINUTES": "5",
        "TLFIF_MAX_LIFETIME_HOURS": "4",
    }
    moto.client("ssm").put_parameter(
        Name=names.node_parameter(STACK), Type="String", Value=json.dumps(told)
    )
    made = ec2.run_instances(
        ImageId=moto.publish_image(names.AMI_PARAMETER),
        MinCount=1,
        MaxCount=1,
        UserData=json.dumps({"TLFIF_STACK": STACK}),
        IamInstanceProfile={"Name": "node-profile"},
    )
    instance_id = made["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[instance_id])
    return instance_id


@pytest_asyncio.fixture
async def stack(
    procs: Processes, moto: Moto, endpoint: Endpoint, valkey: Valkey
) -> AsyncIterator[Stack]:
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    instance_id = make_instance(moto, valkey)
    logs: list[dict[str, Any]] = []
    node = LocalNode(
        procs,
        instance_id,
        imds_endpoint=endpoint.imds_url(instance_id),
        aws_endpoint=endpoint.url,
        slots=4,
        environment={
            "TLFIF_SECONDS_PER_MINUTE": "2",
            "TLFIF_LEASE_RENEW_S": "0.2",
            "TLFIF_LEASE_IDLE_S": "1",
            "TLFIF_GRACE_S": "0.5",
        },
        on_line=lambda line: logs.append(json.loads(line)),
    )
    endpoint.on_instance_state(node.on_state)
    client = scripts.connect(valkey.host, valkey.port)
    yield Stack(client, moto, endpoint, node, logs)
    client.close()
    await node.close()


@pytest.mark.story("EC2-003", "EC2-004")
async def test_a_node_boots_answers_and_stops_itself(stack: Stack) -> None:
    assert stack.node.pids == {}
    job = stack.submit("What is the capital of France?", idle_minutes=1, max_tokens=24)
    await stack.start()
    reply = await stack.final(job)
    assert (reply["status"], reply["attempt"]) == ("done", 1)
    assert reply["text"].strip()
    assert 0 < reply["completion_tokens"] <= 24
    ended_at = time.time()
    assert set(stack.node.pids) == {"model", "watcher"}
    pids = list(stack.node.pids.values())

    await until(lambda: stack.node.pids == {})
    # One minute of the scaled clock, the drain, and EC2's own time.
    assert 2 <= time.time() - ended_at < 2 + 5
    assert not any(alive(pid) for pid in pids)
    (stop,) = [call for call in stack.endpoint.calls if call.operation == "StopInstances"]
    assert (stop.role_arn or "").endswith(":role/node")
    assert (stop.instance_arn or "").endswith(stack.node.instance_id)
    assert auto_stops(stack.moto) == 1
    assert scripts.run(stack.redis, accepting.status()).nodes == []
    (boot_ms,) = stack.redis.lrange(names.BOOTS, 0, -1)
    assert 0 < int(boot_ms) < 60_000
    (ended,) = stack.events("job_ended")
    assert (ended["id"], ended["latency_ms"] > 0) == (job.id, True)


def auto_stops(moto: Moto) -> float:
    now = datetime.now(UTC)
    found = moto.client("cloudwatch").get_metric_statistics(
        Namespace=names.NAMESPACE_GPU,
        MetricName=names.METRIC_AUTO_STOPS,
        Dimensions=[{"Name": "Stack", "Value": STACK}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=60,
        Statistics=["Sum"],
    )
    return sum(point["Sum"] for point in found["Datapoints"])


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.story("EC2-003")
async def test_a_watcher_killed_in_mid_generation_is_restarted_and_the_job_finished_once(
    stack: Stack,
) -> None:
    await stack.start()
    await stack.ready()
    job = stack.submit(LONG, max_tokens=150)
    await until(lambda: stack.reply(job)["text"])
    first = stack.node.pids["watcher"]
    os.kill(first, signal.SIGKILL)
    reply = await stack.final(job)
    assert (reply["status"], reply["attempt"]) == ("done", 2)
    assert stack.node.pids["watcher"] != first
    assert len({line["boot"] for line in stack.events("started")}) == 2
    assert len(stack.redis.lrange(names.BOOTS, 0, -1)) == 1, "a restart is no boot"


@pytest.mark.story("EC2-003")
async def test_a_model_server_killed_in_mid_generation_is_restarted_and_the_job_finished(
    stack: Stack,
) -> None:
    await stack.start()
    await stack.ready()
    job = stack.submit(LONG, max_tokens=150)
    await until(lambda: stack.reply(job)["text"])
    os.kill(stack.node.pids["model"], signal.SIGKILL)
    reply = await stack.final(job)
    assert (reply["status"], reply["attempt"]) == ("done", 2)


@pytest.mark.story("EC2-003")
async def test_a_node_that_ec2_stops_hands_its_job_to_the_next_boot(stack: Stack) -> None:
    await stack.start()
    await stack.ready()
    job = stack.submit(LONG, max_tokens=300)
    await until(lambda: stack.reply(job)["text"])
    await stack.endpoint.instances.stop([stack.node.instance_id])
    await until(lambda: stack.node.pids == {})
    assert len(stack.events("handed_back")) == 1
    (pending,) = stack.redis.xpending_range(names.STREAM, names.GROUP, "-", "+", 10)
    assert (pending["times_delivered"], stack.reply(job)["status"]) == (0, "running")
    await eventually(stack.is_stopped)
    await stack.start()
    reply = await stack.final(job)
    assert (reply["status"], reply["attempt"]) == ("done", 1)

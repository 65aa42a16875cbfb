"""One local node with what it needs of a stack: a queue, a bucket, its role and its parameter."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis
from support import jobs

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.machine.processes import Processes
from local.machine.valkey import Valkey
from local.node.node import LocalNode
from tlfif import names, replies
from tlfif.queue import accepting, scripts

BUCKET, STACK = "replies-of-dev", "dev"
TRUST = '{"Version": "2012-10-17", "Statement": []}'


@dataclass
class Stack:
    """A queue, a bucket that keeps every version, and one node, as a stack on AWS has them."""

    redis: "redis.Redis"
    moto: Moto
    endpoint: Endpoint
    node: LocalNode
    logs: list[dict[str, Any]] = field(default_factory=list)

    def submit(self, prompt: str, idle_minutes: int = 30, **options: Any) -> accepting.NewJob:
        job = jobs.new_job(prompt=prompt, idle_minutes=idle_minutes, options=options)
        jobs.accept(self.redis, job, jobs.LIMITS)
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


async def until(condition: Callable[[], object], timeout_s: float = 90) -> None:
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
        "TLFIF_MODEL": names.DEFAULT_SERVED_MODEL,
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
    """Whether a process runs; one that has ended may wait for a slow init to notice."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@contextlib.asynccontextmanager
async def node_stack(
    procs: Processes,
    moto: Moto,
    endpoint: Endpoint,
    valkey: Valkey,
    *,
    environment: Mapping[str, str],
    commands: Mapping[str, Sequence[str]] | None = None,
    tls: bool = False,
) -> AsyncIterator[Stack]:
    """A stack whose one node is off; `environment`, `commands` and `tls` are LocalNode's."""
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
        environment=environment,
        commands=commands,
        tls=tls,
        on_line=lambda line: logs.append(json.loads(line)),
        on_power_off=endpoint.instances.power_off,
    )
    endpoint.on_instance_state(node.on_state)
    with contextlib.closing(scripts.connect(valkey.host, valkey.port)) as client:
        yield Stack(client, moto, endpoint, node, logs)
    await node.close()

"""Nodes without engines of their own: watchers as processes, on a real queue, moto's S3 and EC2.

What a bench or a check wants of a node it says from outside, as AWS does: by the queue, by the
settings' environment (TLFIF_*), by EC2's calls and by signals.
"""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import redis

from local.aws.ec2 import Delays
from local.aws.endpoint import Endpoint
from local.aws.moto import Moto, start_moto
from local.aws.records import Call
from local.machine.ports import free_port, listening
from local.machine.processes import Process, Processes
from local.machine.valkey import Valkey, start_valkey
from recording.model import ROOT
from tlfif import names, replies
from tlfif.queue import accepting, scripts

REGION, STACK, BUCKET = "us-east-1", "dev", "replies-of-dev"
UNLIMITED = accepting.Limits(backlog_cap=10**9, burst=10**6, sustained=10**6, ttl_s=86_400)
WATCHER_GRACE_S = 40.0
POLL_S = 0.02
_TRUST = '{"Version": "2012-10-17", "Statement": []}'


class Node:
    """One instance with a queue of its own, and its watcher; `log` is what the watcher wrote."""

    def __init__(self, nodes: "Nodes", instance_id: str, valkey: Valkey):
        self.id, self.valkey = instance_id, valkey
        self.redis: redis.Redis = scripts.connect(valkey.host, valkey.port)
        self.log: list[dict[str, Any]] = []
        self.watcher: Process | None = None
        self._nodes = nodes

    async def boot(self, model_url: str, python: str = sys.executable, **settings: object) -> None:
        """Has EC2 start the instance, and its watcher on it; `settings` are TLFIF_* by their names
        in lower case.

        EC2 stops it as soon as it is asked to.
        """
        await self._nodes.endpoint.instances.start([self.id])
        await until(self._runs)
        self.watcher = await self._start(model_url, python, settings)

    async def ready(self, timeout_s: float = 60) -> None:
        """Returns when the queue knows the node as ready."""

        async def so() -> bool:
            nodes = scripts.run(self.redis, accepting.status()).nodes
            return [node["phase"] for node in nodes] == ["ready"]

        await until(so, timeout_s)

    def submit(self, prompt: str, idle_minutes: int = 30, **options: Any) -> accepting.NewJob:
        """Accepts a job, as the router does."""
        job = accepting.NewJob(
            id=str(uuid.uuid4()),
            sub="bench",
            prompt=prompt,
            idle_minutes=idle_minutes,
            options=options,
        )
        answer = scripts.run(self.redis, accepting.accept(job, UNLIMITED))
        assert isinstance(answer, accepting.Accepted), answer
        return job

    async def final(self, job: accepting.NewJob, timeout_s: float = 120) -> dict[str, Any]:
        """The job's final reply, once the queue has forgotten the job."""

        async def so() -> bool:
            return not self.redis.exists(names.job_key(job.id))

        await until(so, timeout_s)
        reply = self._nodes.reply(job)
        assert reply.get("status") in replies.FINAL, reply
        return reply

    def cancel(self, job: accepting.NewJob) -> None:
        """Marks a job as cancelled, as the router does."""
        scripts.run(self.redis, accepting.cancel(job.id, job.sub))

    async def stopped(self, timeout_s: float = 60) -> None:
        """Returns when EC2 has stopped the instance and its watcher is gone."""

        async def so() -> bool:
            # moto has it stopped a moment before EC2 has answered who asked for it.
            gone = self.watcher is None or self.watcher.returncode is not None
            return gone and await self._nodes.endpoint.instances.state(self.id) == "stopped"

        await until(so, timeout_s)

    async def shut_down(self) -> None:
        """What a machine does with its processes when EC2 stops it."""
        if self.watcher is not None:
            await self.watcher.stop(WATCHER_GRACE_S)

    def hear(self, line: str) -> None:
        """Takes one line of the watcher's log."""
        with contextlib.suppress(ValueError):
            self.log.append(json.loads(line))

    async def _runs(self) -> bool:
        return await self._nodes.endpoint.instances.state(self.id) == "running"

    async def _start(self, model_url: str, python: str, settings: Mapping[str, object]) -> Process:
        # As local/node/node.py does it, but without supervisord.
        memory = tempfile.mkdtemp(prefix=f"{self.id}-", dir=self._nodes.procs.log_dir)
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gpu_image'}",
            "PYTHONUNBUFFERED": "1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._nodes.endpoint.imds_url(self.id),
            "AWS_ENDPOINT_URL": self._nodes.endpoint.url,
            "TLFIF_MODEL_URL": model_url,
            "TLFIF_REDIS_PORT": str(self.valkey.port),
            # As /run, emptied by a boot.
            "TLFIF_STATE_FOLDER": memory,
            # This machine is older than the node.
            "TLFIF_BOOTED_AT": str(time.monotonic()),
            **{f"TLFIF_{name.upper()}": str(value) for name, value in settings.items()},
        }
        argv = [python, "-m", "watcher"]
        return await self._nodes.procs.start(
            f"watcher-{self.id}", argv, env=env, cwd=ROOT, on_line=self.hear
        )


class Nodes:
    """A stack's EC2, parameter and bucket, which keeps every version of a reply."""

    def __init__(self, procs: Processes, moto: Moto, endpoint: Endpoint):
        self.procs, self.moto, self.endpoint = procs, moto, endpoint
        self._nodes: dict[str, Node] = {}
        self._image = ""
        endpoint.on_instance_state(self._on_state)

    async def add(self) -> Node:
        """One more node, stopped, with an empty queue."""
        instance_id = await asyncio.to_thread(self._make_instance)
        valkey = await start_valkey(self.procs, f"valkey-{instance_id}")
        self._nodes[instance_id] = node = Node(self, instance_id, valkey)
        return node

    def reply(self, job: accepting.NewJob) -> dict[str, Any]:
        """A job's reply as it is now; {} when there is none."""
        found = replies.read(self.moto.client("s3"), BUCKET, job.reply_key)
        return found[0] if found else {}

    def history(self, job: accepting.NewJob) -> list[dict[str, Any]]:
        """Every body that a reply has had, oldest first."""
        s3 = self.moto.client("s3")
        listed = s3.list_object_versions(Bucket=BUCKET, Prefix=job.reply_key)["Versions"]
        found = [
            s3.get_object(Bucket=BUCKET, Key=job.reply_key, VersionId=each["VersionId"])
            for each in listed
        ]
        bodies = [json.loads(each["Body"].read()) for each in found]
        return sorted(bodies, key=lambda body: (body["attempt"], body["sequence"]))

    def writes(self, job: accepting.NewJob) -> list[Call]:
        """The S3 calls that wrote a job's reply, in order; one for each body of its history."""
        return [
            call
            for call in self.endpoint.calls
            if call.operation == "PutObject"
            and call.status == 200
            and call.params["Key"] == job.reply_key
        ]

    def last_stop(self, instance_id: str) -> Call:
        """The latest StopInstances of this instance that EC2 took."""
        return next(
            call
            for call in reversed(self.endpoint.calls)
            if call.operation == "StopInstances"
            and call.status == 200
            and instance_id in call.params["InstanceIds"]
        )

    def prepare(self, told: Mapping[str, str]) -> None:
        """Makes the bucket, the role and the parameter that a stack's nodes are told."""
        s3, iam = self.moto.client("s3"), self.moto.client("iam")
        s3.create_bucket(Bucket=BUCKET)
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        iam.create_role(RoleName="node", AssumeRolePolicyDocument=_TRUST)
        iam.create_instance_profile(InstanceProfileName="node")
        iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
        usual = {
            "TLFIF_STACK": STACK,
            "TLFIF_REGION": REGION,
            "TLFIF_REDIS_HOST": "127.0.0.1",
            "TLFIF_REPLIES_BUCKET": BUCKET,
            "TLFIF_MODEL": names.DEFAULT_SERVED_MODEL,
            "TLFIF_GPU_SLOTS": "8",
            "TLFIF_MAX_LIFETIME_HOURS": "4",
        }
        self.moto.client("ssm").put_parameter(
            Name=names.node_parameter(STACK), Type="String", Value=json.dumps({**usual, **told})
        )
        self._image = self.moto.publish_image(names.AMI_PARAMETER)

    def _make_instance(self) -> str:
        ec2 = self.moto.client("ec2")
        made = ec2.run_instances(
            ImageId=self._image,
            MinCount=1,
            MaxCount=1,
            UserData=json.dumps({"TLFIF_STACK": STACK}),
            IamInstanceProfile={"Name": "node"},
        )
        instance_id = made["Instances"][0]["InstanceId"]
        ec2.stop_instances(InstanceIds=[instance_id])
        return instance_id

    async def _on_state(self, instance_id: str, state: str) -> None:
        if state == "stopping":
            await self._nodes[instance_id].shut_down()


@contextlib.asynccontextmanager
async def nodes(logs: Path, **told: str) -> AsyncIterator[Nodes]:
    """A stack of which `told` are TLFIF_* settings; its processes end with the block."""
    async with Processes(logs) as procs:
        moto = await start_moto(procs, REGION)
        async with Endpoint(moto, delays=Delays(pending_s=0.1, stopping_s=0.1)) as endpoint:
            made = Nodes(procs, moto, endpoint)
            await asyncio.to_thread(made.prepare, told)
            yield made


async def serve_script(procs: Processes) -> str:
    """Starts an engine that does what prompts say (tests/support/scripted_model.py); its URL."""
    port = free_port()
    argv = [sys.executable, "-m", "support.scripted_model", "--port", str(port)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    await procs.start("engine", argv, env=env, cwd=ROOT, ready=listening(port))
    return f"http://127.0.0.1:{port}"


def ended(call: Call) -> float:
    """When AWS had done what a call asked for, in epoch s."""
    return call.time + call.duration_ms / 1000


async def until(condition: Callable[[], Any], timeout_s: float = 30) -> None:
    """Polls an asynchronous condition; raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not await condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not so after {timeout_s:g} s")
        await asyncio.sleep(POLL_S)

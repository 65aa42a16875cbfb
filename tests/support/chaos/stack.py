"""What a chaos run strikes: a durable queue, a bucket that is watched, and nodes with scripted
engines; every part is a process of its own.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config
from support.calls import REGION
from support.chaos.engine import Evidence
from support.chaos.environments import Lambda
from support.chaos.plan import EVIDENCE, FOLDER, NODES, WEIGHTS

from local.aws.ec2 import Delays
from local.aws.endpoint import Endpoint
from local.aws.messages import Answer, Incoming
from local.aws.moto import Moto, start_moto
from local.aws.requests import AwsRequest
from local.machine.ports import LOOPBACK
from local.machine.processes import Processes
from local.machine.valkey import Valkey, start_valkey
from local.node.node import LocalNode
from recording.model import ROOT
from tlfif import names, replies
from tlfif.environment import CpuWorker

BUCKET, STACK, SLOTS, LANE_SLOTS = "replies-of-dev", "dev", 8, 4
LEASE_IDLE_S = 3.0
WATCHER = {
    "TLFIF_LEASE_RENEW_S": "0.5",
    "TLFIF_LEASE_IDLE_S": str(LEASE_IDLE_S),
    "TLFIF_ENGINE_SILENCE_S": "2",
    "TLFIF_ENGINE_PROBE_S": "2",
}
TRUST = '{"Version": "2012-10-17", "Statement": []}'


class Witness(Endpoint):
    """An endpoint that keeps every body which S3 has taken for a reply, in the order it did: it is
    between all writers and their bucket, and lets one write at a time at each object.
    """

    def __init__(self, moto: Moto):
        super().__init__(moto, delays=Delays(pending_s=0.2, stopping_s=0.2))
        self.bodies: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.ended: set[str] = set()

    async def _handle(self, incoming: Incoming, request: AwsRequest) -> Answer:
        answer = await super()._handle(incoming, request)
        if request.operation == "PutObject" and answer.status == 200:
            self._keep_body(json.loads(incoming.body))
        return answer

    def _keep_body(self, body: dict[str, Any]) -> None:
        if "id" not in body:  # what the guards tell each other
            return
        self.bodies[body["id"]].append(body)
        if body["status"] in replies.FINAL:
            self.ended.add(body["id"])


class Node(LocalNode):
    """A node with a scripted engine."""

    def __init__(self, stack: "Stack", instance_id: str):
        self._announced = stack.procs.log_dir / f"{instance_id}-engine.port"
        engine = [sys.executable, "-m", "support.chaos.engine", "--port", "{port}"]
        engine += ["--announce", str(self._announced), "--evidence", str(stack.evidence.path)]
        roots = [ROOT, ROOT / "gpu_image", ROOT / "tests"]
        super().__init__(
            stack.procs,
            instance_id,
            imds_endpoint=stack.endpoint.imds_url(instance_id),
            aws_endpoint=stack.endpoint.url,
            slots=SLOTS,
            environment={**WATCHER, "PYTHONPATH": os.pathsep.join(map(str, roots))},
            commands={"model": engine},
            on_power_off=stack.endpoint.instances.power_off,
        )

    async def signal(self, part: str, number: signal.Signals) -> bool:
        """Whether there was one to be sent it; `part`: watcher or engine."""
        pid = self.pids.get({"engine": "model"}.get(part, part))
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, number)
                return True
        return False

    async def set_mode(self, mode: str) -> bool:
        """Whether there was an engine to be told."""
        return await self._ask_engine("PUT", f"mode/{mode}") is not None

    async def generating(self) -> int:
        """How many answers its engine is working on."""
        answer = await self._ask_engine("GET", "running")
        return answer.json() if answer else 0

    async def _ask_engine(self, method: str, path: str) -> httpx.Response | None:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            try:
                url = f"http://{LOOPBACK}:{self._announced.read_text()}/{path}"
                return (await client.request(method, url)).raise_for_status()
            except (httpx.HTTPError, OSError):
                return None


class Stack:
    """All of it, running."""

    def __init__(
        self, procs: Processes, moto: Moto, endpoint: Witness, valkey: Valkey, evidence: Evidence
    ):
        self.procs, self.moto, self.endpoint, self.valkey = procs, moto, endpoint, valkey
        self.evidence = evidence
        self.nodes: list[Node] = []
        self.lane: Lambda | None = None

    def client(self, service: str) -> Any:
        """A boto3 client through the endpoint, which gives up as a function's does."""
        key, secret = self.endpoint.operator
        return boto3.Session(region_name=REGION).client(
            service,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            endpoint_url=self.endpoint.url,
            config=Config(
                proxies={}, retries={"total_max_attempts": 1}, connect_timeout=3, read_timeout=3
            ),
        )

    def log_lines(self, job: str) -> list[str]:
        """What the nodes logged of a job."""
        folder = self.procs.log_dir
        logs = [*sorted(folder.glob("i-*-watcher.log")), *folder.glob("*-cpu-worker.log")]
        return [line for log in logs for line in log.read_text().splitlines() if job in line]

    async def begin(self) -> None:
        """Makes the nodes and starts them."""
        instances = await asyncio.to_thread(self._make_instances)
        for instance_id in instances:
            made = Node(self, instance_id)
            self.endpoint.on_instance_state(made.on_state)
            self.nodes.append(made)
        await self.endpoint.instances.start(instances)

    def add_lane(self) -> None:
        """Brings the weights, and the function that hosts the instant lane."""
        sha256 = hashlib.sha256(WEIGHTS).hexdigest()
        key = names.model_key(sha256)
        self.moto.client("s3").put_object(Bucket=BUCKET, Key=key, Body=WEIGHTS)
        told = CpuWorker.variables(
            redis_host=self.valkey.host,
            redis_port=self.valkey.port,
            stack=STACK,
            replies_bucket=BUCKET,
            model_key=key,
            model_sha256=sha256,
            slots=LANE_SLOTS,
            eur_per_hour=0.18,
        )
        own = {EVIDENCE: str(self.evidence.path), FOLDER: str(self.procs.log_dir)}
        self.lane = Lambda(self.procs, {**told, **own}, self.endpoint.url, self.endpoint.operator)
        self.endpoint.on_invoke = self.lane.invoke

    def _make_instances(self) -> list[str]:
        """Stopped instances with their role, tags and user data, and their stack's parameter."""
        iam, ec2 = self.moto.client("iam"), self.moto.client("ec2")
        iam.create_role(RoleName="node", AssumeRolePolicyDocument=TRUST)
        iam.create_instance_profile(InstanceProfileName="node-profile")
        iam.add_role_to_instance_profile(InstanceProfileName="node-profile", RoleName="node")
        told = {
            "TLFIF_STACK": STACK,
            "TLFIF_REGION": REGION,
            "TLFIF_REDIS_HOST": self.valkey.host,
            "TLFIF_REDIS_PORT": str(self.valkey.port),
            "TLFIF_REPLIES_BUCKET": BUCKET,
            "TLFIF_GPU_SLOTS": str(SLOTS),
            "TLFIF_IDLE_MINUTES": str(names.MAX_IDLE_MINUTES),
            "TLFIF_MAX_LIFETIME_HOURS": "4",
        }
        self.moto.client("ssm").put_parameter(
            Name=names.node_parameter(STACK), Type="String", Value=json.dumps(told)
        )
        tags = {names.ENV_TAG: names.ENV_VALUE, names.STACK_TAG: STACK}
        image = self.moto.publish_image(names.AMI_PARAMETER)
        # One by one: of several at once moto gives the first alone its profile.
        instances = [self._make_instance(ec2, image, tags) for _ in range(NODES)]
        ec2.stop_instances(InstanceIds=instances)
        return instances

    @staticmethod
    def _make_instance(ec2: Any, image: str, tags: dict[str, str]) -> str:
        made = ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            UserData=json.dumps({"TLFIF_STACK": STACK}),
            IamInstanceProfile={"Name": "node-profile"},
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
                }
            ],
        )
        return made["Instances"][0]["InstanceId"]


def left_behind(stack: Stack) -> list[str]:
    """Command lines of processes that still know the stack, where there is a /proc to tell."""
    marks = [str(stack.procs.log_dir).encode(), stack.endpoint.url.encode()]
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes()
            known = line + (process / "environ").read_bytes()
            if any(mark in known for mark in marks):
                found.append(line.replace(b"\0", b" ").decode())
    return found


@contextlib.asynccontextmanager
async def running_stack(folder: Path, *, lane: bool = False) -> AsyncIterator[Stack]:
    """A stack whose nodes are booting, with or without the instant lane; logs and data are in
    `folder`.
    """
    async with Processes(folder) as procs:
        moto, valkey = await asyncio.gather(
            start_moto(procs, REGION), start_valkey(procs, durable=True)
        )
        moto.client("s3").create_bucket(Bucket=BUCKET)
        async with Witness(moto) as endpoint:
            stack = Stack(procs, moto, endpoint, valkey, Evidence(folder / "evidence"))
            if lane:
                stack.add_lane()
            await stack.begin()
            yield stack
            if stack.lane:
                stack.lane.close()
            await asyncio.gather(*(each.close() for each in stack.nodes))

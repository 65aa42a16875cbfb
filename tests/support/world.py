"""What the functions work with, all of it real: a queue, EC2 and S3 that can fail, and a user
pool's keys.
"""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pytest
import redis
from support import calm
from support.forgeries import Pool, private_key, segment

from authorizer import handler as authorizer
from guardian import handler as guardian
from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.aws.records import Call
from local.machine.valkey import Valkey
from recording.model import ACCOUNT_ID
from router import handler as router
from tlfif import names
from tlfif.calling import Caller
from tlfif.environment import Fleet
from tlfif.queue import scripts, working

REGION, POOL, CLIENT, STACK, BUCKET = "us-east-1", "us-east-1_world", "client-1", "dev", "replies"
# There is none of this name.
NO_BUCKET = "gone"
ROLE, GUARDIAN_ROLE, MODEL_ROLE, LANE_ROLE, KILLER_ROLE = (
    f"arn:aws:iam::{ACCOUNT_ID}:role/{name}"
    for name in ("router", "guardian", "model-fetch", "cpu-worker", "killer")
)
# What the functions asked of AWS in all worlds so far; their policies are held against it in the
# end.
PERFORMED: list[Call] = []
MODELS = botocore.loaders.create_loader()
METHOD_ARN = f"arn:aws:execute-api:{REGION}:{ACCOUNT_ID}:abc123/v1/POST/infer"


class UserPool:
    """Signs tokens and serves the keys they are checked with, at `url`, until `close`."""

    def __init__(self) -> None:
        self._pool = Pool(
            private_key(), "k1", f"https://cognito-idp.{REGION}.amazonaws.com/{POOL}", CLIENT
        )
        keys = json.dumps({"keys": [self._pool.jwk]})

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(keys.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def token(self, sub: str, **changes: Any) -> str:
        """A good token of this user, but for the changes."""
        return self._pool.token(sub=sub, username=sub, **changes)


@dataclass
class Reply:
    """A proxy response: header names as the function spelt them, the body parsed, and how long it
    took.
    """

    status: int
    headers: dict[str, str]
    body: dict[str, Any]
    seconds: float


class World:
    """One stack's queue, node and bucket, and its functions in this process."""

    def __init__(self, endpoint: Endpoint, moto: Moto, valkey: Valkey, pool: UserPool) -> None:
        self.endpoint, self.moto, self.valkey, self.pool = endpoint, moto, valkey, pool
        self.nodes: list[str] = []

    @cached_property
    def queue(self) -> "redis.Redis":
        """A client that may do everything."""
        return self.valkey.operator(decode_responses=True, protocol=2)

    async def warm(self) -> None:
        """What the first call for EC2 or S3 does: importing boto3 and reading its models is no part
        of an outage.
        """
        await asyncio.to_thread(lambda: (router.services().ec2, router.services().s3))

    def environment(self) -> dict[str, str]:
        return {
            "TLFIF_STACK": STACK,
            "TLFIF_REDIS_HOST": self.valkey.host,
            "TLFIF_REDIS_PORT": str(self.valkey.port),
            "TLFIF_USER_POOL_ID": POOL,
            "TLFIF_CLIENT_ID": CLIENT,
            "TLFIF_JWKS_URL": self.pool.url,
            "TLFIF_REPLIES_BUCKET": BUCKET,
            "TLFIF_BACKLOG_CAP": "500",
            "TLFIF_GPU_COUNT": "1",
            "TLFIF_GPU_SLOTS": "8",
            "TLFIF_IDLE_MINUTES": "5",
            "TLFIF_CAP_EUR": "20",
            # On a loaded machine EC2 takes longer to answer than on AWS.
            "TLFIF_EC2_TIMEOUT_S": "3",
            "AWS_USE_DUALSTACK_ENDPOINT": "true",
            "AWS_ENDPOINT_URL": self.endpoint.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            **self.credentials(ROLE),
        }

    def credentials(self, role: str) -> dict[str, str]:
        """A role's key, as Lambda's environment has it."""
        key, secret = self.endpoint.credentials_for(role)
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}

    def add_node(self, *, zone: str = "us-east-1a", **tags: str) -> str:
        """A stopped instance with the stack's tags; its id."""
        ec2 = self.moto.client("ec2")
        image = self.moto.publish_image(names.AMI_PARAMETER)
        tagged = {names.ENV_TAG: names.ENV_VALUE, names.STACK_TAG: STACK, **tags}
        specification = {
            "ResourceType": "instance",
            "Tags": [{"Key": k, "Value": v} for k, v in tagged.items()],
        }
        made = ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            Placement={"AvailabilityZone": zone},
            TagSpecifications=[specification],
        )
        node = made["Instances"][0]["InstanceId"]
        ec2.stop_instances(InstanceIds=[node])
        self.nodes.append(node)
        return node

    async def state(self, node: str, wanted: str) -> None:
        """Waits until EC2 shows this state of a node."""
        async with asyncio.timeout(30):
            # moto changes it, and tells nobody.
            while await self.endpoint.instances.state(node) != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def send(
        self,
        method: str,
        resource: str,
        body: Any = None,
        *,
        sub: str = "ada",
        token: str | None = None,
        job: str = "",
        path: str = "",
        **headers: str,
    ) -> Reply:
        """One request through the router's handler, as API Gateway would hand it over."""
        event = {
            "resource": resource,
            "path": path or resource.replace("{id}", job),
            "httpMethod": method,
            "headers": {"Authorization": token or self.pool.token(sub), **headers},
            "pathParameters": {"id": job} if job else None,
            "body": json.dumps(body) if isinstance(body, dict) else body,
            "isBase64Encoded": False,
        }
        answer, seconds = await asyncio.to_thread(_answered, event)
        assert answer["isBase64Encoded"] is False
        return Reply(answer["statusCode"], answer["headers"], json.loads(answer["body"]), seconds)

    def heartbeat(self, phase: str = "ready", node: str = "i-1") -> None:
        """A node says that it is there."""
        scripts.run(self.queue, working.heartbeat(node, "b1", phase, 0, {}))

    def claim(self, worker: str = "i-1:b1") -> list[working.ClaimedJob]:
        """What a worker claims of the jobs that nobody has read."""
        scripts.run(self.queue, working.create_group())
        found: Any = self.queue.xreadgroup(names.GROUP, worker, {names.STREAM: ">"}, count=10)
        entries = [entry for entry, _ in found[0][1]] if found else []
        return scripts.run(self.queue, working.claim(worker, entries, 0))

    def caller(self) -> Caller:
        """Who calls the lane, if there is one."""
        return Caller(self.queue, Fleet.read(self.environment()), 2.0)

    async def infer(self, prompt: str = "Hello", **options: Any) -> Reply:
        """POST /infer with only a prompt."""
        return await self.send("POST", "/infer", {"prompt": prompt}, **options)

    async def authorize(self, token: str) -> dict[str, Any]:
        event = {"type": "TOKEN", "authorizationToken": token, "methodArn": METHOD_ARN}
        return await asyncio.to_thread(authorizer.handler, event, None)

    async def guard(self) -> None:
        """One run of the guardian, whose clients are made under its own role."""
        if not guardian.services.cache_info().currsize:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in self.credentials(GUARDIAN_ROLE).items():
                    patch.setenv(name, value)
                # boto3's own session has read the router's.
                patch.setattr(boto3, "DEFAULT_SESSION", session())
                caller, *_ = guardian.services()
                _ = caller.policy and caller.functions
        await asyncio.to_thread(
            guardian.handler, {}, SimpleNamespace(aws_request_id=str(uuid.uuid4()))
        )

    def reply(self, key: str) -> dict[str, Any] | None:
        """What is in the bucket under this key."""
        s3 = self.moto.client("s3")
        try:
            return json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        except s3.exceptions.NoSuchKey:
            return None

    def calls(self, operation: str) -> int:
        """How many calls of AWS with this name were answered well."""
        return sum(
            call.operation == operation and call.status == 200 for call in self.endpoint.calls
        )


def _answered(event: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """The router's answer, and how long it took on a calm machine."""
    began = calm.now()
    answer = router.handler(event, SimpleNamespace(aws_request_id=str(uuid.uuid4())))
    return answer, calm.now() - began


def session() -> boto3.Session:
    """A session that knows nothing yet, except the services' models: to read them takes 0.2 s."""
    own = botocore.session.Session()
    own.register_component("data_loader", MODELS)
    return boto3.Session(botocore_session=own)


@cache
def read_models() -> None:
    """Reads the models of the services that a world uses, so that no test's time has it in it."""
    for service in ("ec2", "s3", "lambda"):
        session().client(service, region_name=REGION).close()


@contextmanager
def world(
    endpoint: Endpoint,
    moto: Moto,
    valkey: Valkey,
    pool: UserPool,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    """A world with a bucket and no node, and the functions told about it."""
    read_models()
    made = World(endpoint, moto, valkey, pool)
    moto.client("s3").create_bucket(Bucket=BUCKET)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    # boto3's own session keeps the credentials of the test before.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session())
    for made_once in (router.services, authorizer.verifier, authorizer.told, guardian.services):
        made_once.cache_clear()
    yield made
    PERFORMED.extend(endpoint.calls)
    if router.services.cache_info().currsize:
        routing = router.services()
        made_on_use = [vars(routing)[name] for name in ("ec2", "s3") if name in vars(routing)]
        _close(router.services, *made_on_use, *_clients(routing.caller))
    if guardian.services.cache_info().currsize:
        caller, ec2, s3, _ = guardian.services()
        _close(guardian.services, ec2, s3, *_clients(caller))
    authorizer.verifier.cache_clear()
    authorizer.told.cache_clear()
    made.queue.close()


def _clients(caller: Caller) -> list[Any]:
    made_on_use = [vars(caller)["functions"]] if "functions" in vars(caller) else []
    return [caller.redis, *made_on_use]


def _close(cache: Any, *clients: Any) -> None:
    for client in clients:
        client.close()
    cache.cache_clear()


def unsigned(claims: dict[str, Any]) -> str:
    """A token that claims to need no signature."""
    return f"{segment({'alg': 'none', 'kid': 'k1'})}.{segment(claims)}."


# --- how a queue fails, for the time of a block


@asynccontextmanager
async def hung(world: World) -> AsyncIterator[None]:
    pid = world.queue.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def refused(world: World) -> AsyncIterator[None]:
    await world.valkey.stop()
    yield
    await world.valkey.start()


@asynccontextmanager
async def read_only(world: World) -> AsyncIterator[None]:
    world.queue.replicaof("127.0.0.1", 1)
    yield
    world.queue.replicaof("NO", "ONE")


@asynccontextmanager
async def full(world: World) -> AsyncIterator[None]:
    world.queue.config_set("maxmemory-policy", "noeviction")
    world.queue.config_set("maxmemory", 1)
    yield
    world.queue.config_set("maxmemory", 0)


Outage = Callable[[World], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def slow_link(port: int, delay_s: float) -> AsyncIterator[int]:
    """A port that leads to this one; what the server says arrives `delay_s` late."""

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late_s: float
    ) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(late_s)
            writer.write(data)

    links: set[asyncio.Task[Any]] = set()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        links.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", port)
        ways = [
            asyncio.create_task(pump(reader, back, 0)),
            asyncio.create_task(pump(there, writer, delay_s)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            back.close()
            writer.close()

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for each in links:
        each.cancel()
    await asyncio.gather(*links, return_exceptions=True)

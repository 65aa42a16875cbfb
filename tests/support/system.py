"""What the tests of the whole system ask of it, beside what its users see."""

import json
import os

from jose import jwt
from support.calls import eventually
from support.family import descendants
from support.users import LONG, WAIT_S, Reply, User

from gui.client import FINAL, Job
from local.aws.records import Call
from local.cloud import LocalCloud
from local.node.node import LocalNode
from tlfif import names

# The `cloud` fixture's.
SLOTS = 4
NOBODYS_ID = "00000000-0000-4000-8000-000000000000"


async def state(cloud: LocalCloud) -> str:
    """EC2's word for what the node does."""
    (instance_id,) = cloud.nodes
    return await cloud.endpoint.instances.state(instance_id)


async def until_state(cloud: LocalCloud, wanted: str) -> None:
    async def so() -> bool:
        return await state(cloud) == wanted

    await eventually(so, WAIT_S)


async def until_off(node: LocalNode) -> None:
    """Returns when a node's supervisord, too, knows that none of its processes runs."""

    async def so() -> bool:
        return node.pids == {}

    await eventually(so)


async def busy(ada: User) -> list[Job]:
    """Jobs without end in every slot of the node."""
    jobs = [await ada.infer(LONG, max_tokens=names.MAX_TOKENS) for _ in range(SLOTS)]
    for job in jobs:
        await ada.begun(job)
    return jobs


def calls(cloud: LocalCloud, operation: str, since: float = 0) -> list[Call]:
    return [
        call for call in cloud.endpoint.calls if call.operation == operation and call.time >= since
    ]


def history(cloud: LocalCloud, job: Job) -> list[Reply]:
    """Every body that a reply has had, oldest first: the `cloud` fixture's bucket keeps them."""
    s3, bucket = cloud.moto.client("s3"), cloud.output("replies_bucket")
    versions = s3.list_object_versions(Bucket=bucket)["Versions"]
    own = [each for each in reversed(versions) if each["Key"].endswith(f"/{job.id}.json")]
    found = [
        s3.get_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"]) for each in own
    ]
    return [json.load(each["Body"]) for each in found]


def one_final_reply(cloud: LocalCloud, job: Job) -> Reply:
    """The final reply, after making sure that no other was ever written and that nothing followed
    it.
    """
    bodies = history(cloud, job)
    puts = [
        c
        for c in calls(cloud, "PutObject")
        if c.params["Key"].endswith(f"/{job.id}.json") and c.status == 200
    ]
    assert len(puts) == len(bodies)
    assert [body["status"] in FINAL for body in bodies] == [False] * (len(bodies) - 1) + [True]
    return bodies[-1]


async def forgotten(cloud: LocalCloud, *jobs: Job) -> None:
    """Returns when the queue holds nothing of these jobs any more."""
    with cloud.valkey.operator(decode_responses=True) as redis:

        async def so() -> bool:
            waiting = {fields["id"] for _, fields in redis.xrange(names.STREAM)}
            return not any(job.id in waiting or redis.exists(names.job_key(job.id)) for job in jobs)

        await eventually(so)


def alive(pid: int) -> bool:
    return pid in descendants(os.getpid())


def sub(user: User) -> str:
    return jwt.get_unverified_claims(user.token)["sub"]

"""EC2's slow states, its refusals, and the metadata service, over moto's instant instances."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import boto3
import httpx
import pytest
from botocore.credentials import InstanceMetadataFetcher, InstanceMetadataProvider
from botocore.exceptions import ClientError
from support.calls import REGION, ClientOf, call, eventually

from local.aws.endpoint import Endpoint
from local.aws.faults import Fault
from local.aws.moto import Moto
from recording.model import ACCOUNT_ID

pytestmark = pytest.mark.integration

TRUST = '{"Version": "2012-10-17", "Statement": []}'


@pytest.fixture
def node(moto: Moto) -> str:
    """A stopped instance with tags, a role and user data."""
    iam, ec2 = moto.client("iam"), moto.client("ec2")
    iam.create_role(RoleName="node", AssumeRolePolicyDocument=TRUST)
    iam.create_instance_profile(InstanceProfileName="node-profile")
    iam.add_role_to_instance_profile(InstanceProfileName="node-profile", RoleName="node")
    run: dict[str, Any] = {
        "ImageId": moto.publish_image("/tl-fif/latest_ami_id"),
        "InstanceType": "g4dn.xlarge",
        "UserData": '{"TLFIF_STACK": "dev"}',
        "IamInstanceProfile": {"Name": "node-profile"},
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": [{"Key": "env", "Value": "tinyllama"}]}
        ],
    }
    instance_id = ec2.run_instances(MinCount=1, MaxCount=1, **run)["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[instance_id])
    return instance_id


@pytest.fixture
def ec2(client_of: ClientOf) -> Any:
    return client_of("ec2")


class Gate:
    """Keeps instances in the states between until the test lets them go on, however fast the
    machine is: EC2's next state waits for those who listen.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._opened = {"pending": asyncio.Event(), "stopping": asyncio.Event()}
        endpoint.on_instance_state(self._hold)

    async def _hold(self, instance_id: str, state: str) -> None:
        if state in self._opened:
            await self._opened[state].wait()

    def open(self, state: str) -> None:
        self._opened[state].set()


async def shown(ec2: Any, **query: Any) -> list[str]:
    answer = await call(ec2.describe_instances, **query)
    return [
        each["State"]["Name"]
        for reservation in answer["Reservations"]
        for each in reservation["Instances"]
    ]


async def until(ec2: Any, state: str) -> None:
    async def reached() -> bool:
        return await shown(ec2) == [state]

    await eventually(reached)


def changed(answer: dict[str, Any]) -> list[tuple[str, str]]:
    (instances,) = (value for key, value in answer.items() if key.endswith("Instances"))
    return [(each["PreviousState"]["Name"], each["CurrentState"]["Name"]) for each in instances]


async def test_start_and_stop_pass_through_the_states_between(
    endpoint: Endpoint, ec2: Any, node: str
) -> None:
    seen: list[str] = []

    async def note(instance_id: str, state: str) -> None:
        assert instance_id == node
        seen.append(state)

    endpoint.on_instance_state(note)
    gate = Gate(endpoint)
    assert await shown(ec2) == ["stopped"]

    assert changed(await call(ec2.start_instances, InstanceIds=[node])) == [("stopped", "pending")]
    assert await shown(ec2) == ["pending"]
    assert changed(await call(ec2.start_instances, InstanceIds=[node])) == [("pending", "pending")]
    gate.open("pending")
    await until(ec2, "running")
    assert changed(await call(ec2.start_instances, InstanceIds=[node])) == [("running", "running")]

    assert changed(await call(ec2.stop_instances, InstanceIds=[node])) == [("running", "stopping")]
    assert await shown(ec2) == ["stopping"]
    assert changed(await call(ec2.stop_instances, InstanceIds=[node])) == [("stopping", "stopping")]
    gate.open("stopping")
    await until(ec2, "stopped")
    assert changed(await call(ec2.stop_instances, InstanceIds=[node])) == [("stopped", "stopped")]
    assert seen == ["pending", "running", "stopping", "stopped"]


async def test_refuses_what_ec2_refuses(endpoint: Endpoint, ec2: Any, node: str) -> None:
    gate = Gate(endpoint)
    await call(ec2.start_instances, InstanceIds=[node])
    with pytest.raises(ClientError, match="not in a state from which it can be stopped") as error:
        await call(ec2.stop_instances, InstanceIds=[node])
    assert error.value.response["Error"]["Code"] == "IncorrectInstanceState"
    gate.open("pending")
    await until(ec2, "running")
    await call(ec2.stop_instances, InstanceIds=[node])
    with pytest.raises(ClientError, match="not in a state from which it can be started") as error:
        await call(ec2.start_instances, InstanceIds=[node])
    assert error.value.response["Error"]["Code"] == "IncorrectInstanceState"
    with pytest.raises(ClientError) as error:
        await call(ec2.start_instances, InstanceIds=["i-0123456789abcdef0"])
    assert error.value.response["Error"]["Code"] == "InvalidInstanceID.NotFound"


async def test_no_capacity_leaves_the_instance_stopped(
    endpoint: Endpoint, ec2: Any, node: str
) -> None:
    endpoint.faults.add(
        Fault("ec2", "StartInstances", status=500, code="InsufficientInstanceCapacity")
    )

    with pytest.raises(ClientError, match="InsufficientInstanceCapacity"):
        await call(ec2.start_instances, InstanceIds=[node])

    assert await shown(ec2) == ["stopped"]


async def test_filters_and_statuses_know_the_states_between(
    endpoint: Endpoint, ec2: Any, node: str
) -> None:
    endpoint.instances.delays.pending_s = 30
    await call(ec2.start_instances, InstanceIds=[node])

    def by(*states: str, env: str = "tinyllama") -> dict[str, Any]:
        name = {"Name": "instance-state-name", "Values": list(states)}
        return {"Filters": [name, {"Name": "tag:env", "Values": [env]}]}

    assert await shown(ec2, **by("pending", "stopped")) == ["pending"]
    assert await shown(ec2, **by("running")) == []
    assert await shown(ec2, **by("pending", env="other")) == []
    assert await shown(ec2, Filters=[{"Name": "instance-state-code", "Values": ["0"]}]) == [
        "pending"
    ]
    assert (await call(ec2.describe_instance_status))["InstanceStatuses"] == []
    (status,) = (await call(ec2.describe_instance_status, IncludeAllInstances=True))[
        "InstanceStatuses"
    ]
    assert status["InstanceState"] == {"Code": 0, "Name": "pending"}


async def test_the_launch_time_is_the_last_starts(
    endpoint: Endpoint, moto: Moto, ec2: Any, node: str
) -> None:
    async def launched() -> Any:
        return (await call(ec2.describe_instances))["Reservations"][0]["Instances"][0]["LaunchTime"]

    first = await launched()
    await asyncio.sleep(1.1)
    await call(ec2.start_instances, InstanceIds=[node])

    assert await launched() > first


async def test_stopped_waits_for_those_who_shut_down(
    endpoint: Endpoint, ec2: Any, node: str
) -> None:
    gone = asyncio.Event()

    async def shut_down(instance_id: str, state: str) -> None:
        if state == "stopping":
            await gone.wait()

    def broken(instance_id: str, state: str) -> None:
        raise RuntimeError("a listener's bug is its own")

    endpoint.on_instance_state(broken)
    endpoint.on_instance_state(shut_down)
    await call(ec2.start_instances, InstanceIds=[node])
    await until(ec2, "running")
    await call(ec2.stop_instances, InstanceIds=[node])
    await asyncio.sleep(0.3)
    assert await shown(ec2) == ["stopping"]
    gone.set()
    await until(ec2, "stopped")


@pytest.mark.story("EC2-004")
async def test_a_node_stops_itself_with_the_credentials_of_its_metadata(
    endpoint: Endpoint, ec2: Any, node: str
) -> None:
    await call(ec2.start_instances, InstanceIds=[node])
    await until(ec2, "running")

    # boto3's own way to credentials on an instance.
    fetcher = InstanceMetadataFetcher(
        config={"ec2_metadata_service_endpoint": endpoint.imds_url(node)}
    )
    found: Any = await call(InstanceMetadataProvider(fetcher).load)
    frozen = found.get_frozen_credentials()
    session = boto3.Session(frozen.access_key, frozen.secret_key, frozen.token, region_name=REGION)
    await call(session.client("ec2", endpoint_url=endpoint.url).stop_instances, InstanceIds=[node])

    stop = next(each for each in endpoint.calls if each.operation == "StopInstances")
    assert stop.role_arn == f"arn:aws:iam::{ACCOUNT_ID}:role/node"
    assert stop.instance_arn == f"arn:aws:ec2:{REGION}:{ACCOUNT_ID}:instance/{node}"
    assert stop.resource_tags == {node: {"env": "tinyllama"}}
    await until(ec2, "stopped")


@pytest.fixture
async def imds(endpoint: Endpoint, node: str) -> Any:
    async with httpx.AsyncClient(
        base_url=f"{endpoint.imds_url(node)}/latest", trust_env=False
    ) as http:
        yield http


async def token(imds: httpx.AsyncClient, ttl: str = "60") -> dict[str, str]:
    answer = await imds.put("/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": ttl})
    assert answer.status_code == 200
    return {"X-aws-ec2-metadata-token": answer.text}


async def test_metadata_wants_a_token(
    endpoint: Endpoint, imds: httpx.AsyncClient, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("local.aws.imds.time", SimpleNamespace(monotonic=lambda: now))
    assert (await imds.get("/meta-data/instance-id")).status_code == 401
    assert (await imds.put("/api/token")).status_code == 400
    for ttl in ("0", "21601", "soon"):
        refused = await imds.put(
            "/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": ttl}
        )
        assert refused.status_code == 400
    forwarded = {"X-aws-ec2-metadata-token-ttl-seconds": "60", "X-Forwarded-For": "10.0.0.1"}
    assert (await imds.put("/api/token", headers=forwarded)).status_code == 403

    brief = await token(imds, "1")
    assert (await imds.get("/meta-data/instance-id", headers=brief)).text == node
    now += 1.05
    assert (await imds.get("/meta-data/instance-id", headers=brief)).status_code == 401
    other = f"{endpoint.imds_url('i-0123456789abcdef0')}/latest/meta-data/instance-id"
    assert (await imds.get(other, headers=await token(imds))).status_code == 401, (
        "a token is one instance's"
    )


async def test_metadata_tells_what_the_node_needs(imds: httpx.AsyncClient, node: str) -> None:
    headers = await token(imds)

    async def read(path: str) -> str:
        answer = await imds.get(path, headers=headers)
        assert answer.status_code == 200, path
        return answer.text

    assert await read("/meta-data/instance-id") == node
    assert await read("/meta-data/placement/region") == REGION
    assert (await read("/meta-data/placement/availability-zone")).startswith(REGION)
    assert (await read("/meta-data/local-ipv4")).count(".") == 3
    assert await read("/user-data") == '{"TLFIF_STACK": "dev"}'
    assert await read("/meta-data/iam/security-credentials/") == "node"
    assert await read("/meta-data/placement/") == "availability-zone\nregion"
    credentials = json.loads(await read("/meta-data/iam/security-credentials/node"))
    assert {
        "Code",
        "Type",
        "AccessKeyId",
        "SecretAccessKey",
        "Token",
        "Expiration",
    } <= credentials.keys()
    identity = json.loads(await read("/dynamic/instance-identity/document"))
    assert (identity["instanceId"], identity["region"], identity["accountId"]) == (
        node,
        REGION,
        ACCOUNT_ID,
    )
    assert (await imds.get("/meta-data/nothing", headers=headers)).status_code == 404


async def test_a_start_that_is_promised_may_come_to_nothing(
    endpoint: Endpoint, node: str, ec2: Any
) -> None:
    code = "Server.InsufficientInstanceCapacity"
    endpoint.faults.add(Fault("ec2", "StartInstances", falls_back=code))
    answer = await call(ec2.start_instances, InstanceIds=[node])
    assert answer["StartingInstances"][0]["CurrentState"]["Name"] == "pending"
    await until(ec2, "stopped")
    answer = await call(ec2.describe_instances)
    [instance] = answer["Reservations"][0]["Instances"]
    assert instance["StateReason"]["Code"] == code
    await call(ec2.start_instances, InstanceIds=[node])
    await until(ec2, "running")
    await call(ec2.stop_instances, InstanceIds=[node])
    await until(ec2, "stopped")
    answer = await call(ec2.describe_instances)
    [instance] = answer["Reservations"][0]["Instances"]
    assert instance.get("StateReason", {}).get("Code") != code, "the reason of the last stop counts"


@pytest.mark.story("EC2-004")
async def test_a_machine_that_powers_itself_off_is_stopped(
    endpoint: Endpoint, node: str, ec2: Any
) -> None:
    async def reason() -> str:
        answer = await call(ec2.describe_instances)
        return answer["Reservations"][0]["Instances"][0]["StateReason"]["Code"]

    heard: list[str] = []
    endpoint.on_instance_state(lambda _, state: heard.append(state))
    await call(ec2.start_instances, InstanceIds=[node])
    await until(ec2, "running")
    await endpoint.instances.power_off(node)
    await endpoint.instances.power_off(node)
    await until(ec2, "stopped")
    assert heard[-2:] == ["stopping", "stopped"]
    assert await reason() == "Client.InstanceInitiatedShutdown"
    await call(ec2.start_instances, InstanceIds=[node])
    await until(ec2, "running")
    await call(ec2.stop_instances, InstanceIds=[node])
    await until(ec2, "stopped")
    assert await reason() == "Client.UserInitiatedShutdown"


async def test_the_metadata_service_suffers_faults_too(endpoint: Endpoint, node: str) -> None:
    endpoint.faults.add(Fault("imds", "latest/api/token", status=503, code="x"))
    async with httpx.AsyncClient() as client:
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        url = f"{endpoint.imds_url(node)}/latest/api/token"
        answers = [await client.put(url, headers=ttl) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 200]

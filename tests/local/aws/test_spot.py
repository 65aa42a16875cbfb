"""EC2 takes a spot instance back: what its metadata say, and who may start it afterwards."""

import json
import time
from datetime import datetime
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from support.calls import ClientOf, call, eventually

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto

pytestmark = pytest.mark.integration

# Long enough to be read on a machine with much to do.
WARNING_S = 3.0
WANT_TOKEN = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}


def instance(moto: Moto, **options: Any) -> str:
    """A stopped one."""
    ec2 = moto.client("ec2")
    image = moto.publish_image("/tl-fif/latest_ami_id")
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **options)
    instance_id = made["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[instance_id])
    return instance_id


async def metadata(endpoint: Endpoint, instance_id: str, path: str) -> str | None:
    """None where there is none."""
    base = f"{endpoint.imds_url(instance_id)}/latest"
    async with httpx.AsyncClient(trust_env=False) as http:
        token = (await http.put(f"{base}/api/token", headers=WANT_TOKEN)).text
        headers = {"X-aws-ec2-metadata-token": token}
        answer = await http.get(f"{base}/meta-data/{path}", headers=headers)
    return answer.text if answer.status_code == 200 else None


async def test_a_notice_comes_before_the_stop_and_only_ec2_starts_it_again(
    endpoint: Endpoint, moto: Moto, client_of: ClientOf
) -> None:
    spot = instance(moto, InstanceMarketOptions={"MarketType": "spot"})
    assert await metadata(endpoint, spot, "instance-life-cycle") == "spot"
    assert await metadata(endpoint, instance(moto), "instance-life-cycle") == "on-demand"

    async def becomes(state: str) -> None:
        async def so() -> bool:
            return await endpoint.instances.state(spot) == state

        await eventually(so)

    await endpoint.instances.start([spot])
    await becomes("running")
    assert await metadata(endpoint, spot, "spot/instance-action") is None
    due = time.time() + WARNING_S
    endpoint.spot.interrupt(spot, WARNING_S)
    told = json.loads(await metadata(endpoint, spot, "spot/instance-action") or "")
    assert told["action"] == "stop"
    assert abs(datetime.fromisoformat(told["time"]).timestamp() - due) < 2
    await becomes("stopped")
    ec2 = client_of("ec2")
    described = await call(ec2.describe_instances, InstanceIds=[spot])
    reason = described["Reservations"][0]["Instances"][0]["StateReason"]
    assert reason["Code"] == "Server.SpotInstanceShutdown"
    assert await metadata(endpoint, spot, "spot/instance-action") is None
    with pytest.raises(ClientError, match="IncorrectSpotRequestState"):
        await call(ec2.start_instances, InstanceIds=[spot])
    await endpoint.instances.give_back(spot)
    await becomes("running")


async def test_one_that_stopped_by_itself_in_time_is_its_owners_to_start(
    endpoint: Endpoint, moto: Moto
) -> None:
    spot = instance(moto, InstanceMarketOptions={"MarketType": "spot"})
    for _ in range(2):
        await endpoint.instances.start([spot])

        async def runs() -> bool:
            return await endpoint.instances.state(spot) == "running"

        await eventually(runs)
        endpoint.spot.interrupt(spot, 60)
        await endpoint.instances.stop([spot])

        async def rests() -> bool:
            return await endpoint.instances.state(spot) == "stopped"

        await eventually(rests)

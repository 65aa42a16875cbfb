"""What tests make go wrong with a call, and what its caller sees."""

from typing import Any

import botocore.exceptions
import pytest
from botocore.exceptions import ClientError
from support.calls import ClientOf, call, code, eventually

from local.aws.endpoint import Endpoint
from local.aws.faults import Fault
from recording.model import ACCOUNT_ID

pytestmark = pytest.mark.integration

ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/router"


async def test_an_injected_error_is_the_services_own(
    endpoint: Endpoint, client_of: ClientOf
) -> None:
    ec2 = client_of("ec2")
    endpoint.faults.add(
        Fault(
            "ec2", "DescribeVpcs", status=500, code="InsufficientInstanceCapacity", message="none"
        )
    )

    with pytest.raises(ClientError, match="none") as error:
        await call(ec2.describe_vpcs)

    assert code(error) == (500, "InsufficientInstanceCapacity")
    assert (await call(ec2.describe_vpcs))["Vpcs"], "once is once"
    assert [each.status for each in endpoint.calls] == [500, 200]


async def test_a_fault_hits_only_its_role_service_and_operation(
    endpoint: Endpoint, client_of: ClientOf
) -> None:
    fault = Fault(
        "ec2", "DescribeVpcs", role_arn=ROLE, status=503, code="RequestLimitExceeded", times=None
    )
    with endpoint.faults.injected(fault):
        await call(client_of("ec2").describe_vpcs)
        await call(client_of("ec2", endpoint.credentials_for(ROLE)).describe_subnets)
        for _ in range(2):
            with pytest.raises(ClientError, match="RequestLimitExceeded"):
                await call(client_of("ec2", endpoint.credentials_for(ROLE)).describe_vpcs)
    await call(client_of("ec2", endpoint.credentials_for(ROLE)).describe_vpcs)


async def test_a_reset_breaks_the_connection_before_or_after_the_effect(
    endpoint: Endpoint, s3: Any
) -> None:
    for after in (False, True):
        endpoint.faults.add(Fault("s3", "PutObject", reset=True, after=after))
        with pytest.raises(botocore.exceptions.ConnectionClosedError, match="closed"):
            await call(s3.put_object, Bucket="replies", Key=f"{after}", Body=b"x")

    listed = await call(s3.list_objects_v2, Bucket="replies")
    assert [each["Key"] for each in listed["Contents"]] == ["True"]
    assert [each.status for each in endpoint.calls][:2] == [None, None]


async def test_a_hang_lasts_until_the_client_gives_up(
    endpoint: Endpoint, client_of: ClientOf
) -> None:
    endpoint.faults.add(Fault("ec2", hang=True))
    impatient = client_of("ec2", read_timeout=0.2)

    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        await call(impatient.describe_vpcs)

    assert endpoint.calls[0].status is None
    assert (await call(client_of("ec2").describe_subnets))["Subnets"]


async def test_a_call_takes_effect_though_its_client_left(
    endpoint: Endpoint, client_of: ClientOf, s3: Any
) -> None:
    endpoint.faults.add(Fault("s3", "PutObject", delay_s=1))
    impatient = client_of("s3", read_timeout=0.1)

    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        await call(impatient.put_object, Bucket="replies", Key="late", Body=b"x")

    async def written() -> bool:
        return "Contents" in await call(s3.list_objects_v2, Bucket="replies")

    await eventually(written)


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 500},
        {"code": "Throttling"},
        {"hang": True, "reset": True},
        {"status": 500, "code": "X", "hang": True},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a fault"):
        Fault("ec2", **wrong)

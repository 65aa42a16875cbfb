"""A stage's throttle is changed while it is served, by API Gateway's own API (OPS-003)."""

import json

import pytest
from support.gateways import Cloud, client, parse
from support.monitored import answering, request

from local.aws.errors import AwsError
from local.monitoring.stage import StageControl

NOTHING = answering({})
NAMED = {"restApiId": "abcde12345", "stageName": "v1"}


@pytest.fixture
def cloud() -> Cloud:
    return Cloud()


def patch(path: str, value: str = "1", op: str = "replace"):
    told = [{"op": op, "path": path, "value": value}]
    return request("apigateway", "UpdateStage", **NAMED, patchOperations=told)


@pytest.mark.story("OPS-003")
async def test_a_patch_closes_the_stage_and_another_opens_it(cloud: Cloud) -> None:
    gateway = cloud.gateway(parse())
    control = StageControl(NAMED["restApiId"], NAMED["stageName"], gateway.throttle)
    async with client(gateway) as http:
        assert (await http.get("/mock")).status_code == 200
        await control.update(patch("/*/*/throttling/rateLimit", "0.001"), NOTHING)
        await control.update(patch("/*/*/throttling/burstLimit", "1"), NOTHING)
        answers = [(await http.get("/mock")).status_code for _ in range(3)]
        assert answers == [200, 429, 429]
        shown = json.loads((await control.get(request("apigateway", "Get", **NAMED), NOTHING)).body)
        expected = {"throttlingRateLimit": 0.001, "throttlingBurstLimit": 1}
        assert shown["methodSettings"]["*/*"] == expected
        answer = await control.update(patch("/~1mock/GET/throttling/burstLimit", "9"), NOTHING)
        assert set(json.loads(answer.body)["methodSettings"]) == {"*/*", "~1mock/GET"}
        assert (await http.get("/mock")).status_code == 200


async def test_what_cannot_be_patched_is_refused(cloud: Cloud) -> None:
    gateway = cloud.gateway(parse())
    control = StageControl(NAMED["restApiId"], NAMED["stageName"], gateway.throttle)
    for refused in (patch("/variables/x"), patch("/*/*/throttling/rateLimit", op="remove")):
        with pytest.raises(AwsError, match="Invalid patch"):
            await control.update(refused, NOTHING)
    with pytest.raises(AwsError, match="Invalid stage"):
        await control.get(request("apigateway", "Get", restApiId="x", stageName="v1"), NOTHING)
    await gateway.aclose()

"""A running local cloud into which Pulumi's own CLI deploys, by the commands that people give."""

import asyncio
from argparse import Namespace
from pathlib import Path

import httpx
import pytest
from support.engine import needs_engine
from support.users import signed_in

from local.cloud import LocalCloud, Options
from local.commands import deploy, up
from local.control import taking_orders

pytestmark = [pytest.mark.engine, pytest.mark.integration, needs_engine]


@pytest.mark.story("RED-001", "API-001")
async def test_up_serves_what_it_deployed_and_destroy_closes_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prod.json"
    monkeypatch.setattr(deploy, "cloud_file", lambda stack: file)

    async def pulumi(what: str) -> int:
        return await deploy.deploy(Namespace(stack="prod", what=what, options=[]))

    options = Options(stack="prod", workers=1)
    async with LocalCloud(options) as cloud, up.console(cloud) as site:
        cloud.described.write(file)
        recorded, nodes = cloud.output("user_pool_id"), dict(cloud.nodes)
        async with taking_orders(Path(cloud.described.control), up.orders(cloud, site)):
            assert await pulumi("up") == 0
            assert cloud.output("user_pool_id") != recorded, "the cloud was emptied first"
            assert cloud.nodes.keys() != nodes.keys()
            async with signed_in(cloud) as user:
                assert (await user.ask(user.client.status))["node"] == "off"
            async with httpx.AsyncClient() as http:
                told = (await http.get(f"{site.url}config.json")).json()
            assert told["userPoolId"] == cloud.output("user_pool_id"), "so is its console's pool"

            kept = dict(cloud.nodes)
            assert await pulumi("refresh") == 0
            assert cloud.nodes == kept, "nothing changed, and no node was touched"

            # prod protects its users.
            assert await pulumi("destroy") != 0
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"{cloud.api_url}/status")).status_code in (401, 403)
    assert "the local cloud runs what is deployed" in capsys.readouterr().out


async def test_without_a_running_cloud_nothing_is_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "cloud_file", lambda stack: tmp_path / "none.json")
    with pytest.raises(deploy.NoCloudError, match="make local STACK=prod"):
        await asyncio.wait_for(deploy.deploy(Namespace(stack="prod", what="up", options=[])), 30)

"""`make local`: the local cloud, kept running, and what one needs to use it."""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gui.site import Configuration, Site, write
from local.cloud import LocalCloud, Options
from local.commands.shared import say
from local.control import Order, cloud_file, taking_orders
from local.deployment.provider.cloud import CloudFile
from local.users import create_user, sign_in

# Below the cloud's own.
FOLDER = "console"
USER = "ada@example.com"
HELP = """
console  {console}   sign in as {user}, password {password}
API      {cloud.api_url}
in VPC   {cloud.vpc_url}   (for /ping)
AWS      {cloud.endpoint.url}   (endpoint of every AWS API)
queue    redis://{cloud.valkey.host}:{cloud.valkey.port}
replies  s3://{replies}
logs     {cloud.log_dir}
outputs  {cloud.log_dir}/outputs.json

export TLFIF_API={cloud.api_url} TLFIF_TOKEN={token}
curl -H "Authorization: $TLFIF_TOKEN" -d '{{"prompt":"Hello"}}' $TLFIF_API/infer
.venv/bin/python -m gui.client "What is a GPU?"

export AWS_ENDPOINT_URL={cloud.endpoint.url} AWS_DEFAULT_REGION={cloud.moto.region}
export AWS_ACCESS_KEY_ID={operator.access_key} AWS_SECRET_ACCESS_KEY={operator.secret}
make user EMAIL=you@example.com OUTPUTS={cloud.log_dir}/outputs.json

Ctrl-C stops everything.
"""


async def stay_up(arguments: argparse.Namespace) -> int:
    """Keeps the local cloud running until Ctrl-C, and lets Pulumi's engine deploy into it."""
    options = Options(
        stack=arguments.stack,
        port=arguments.port,
        engine=arguments.engine == "pulumi",
        lane=True,
        tls=True,
    )
    file = cloud_file(options.stack)
    async with LocalCloud(options, say) as cloud, console(cloud) as site:
        await _announce(cloud, site)
        file.parent.mkdir(parents=True, exist_ok=True)
        cloud.described.write(file)
        try:
            async with taking_orders(Path(cloud.described.control), orders(cloud, site)):
                await asyncio.Event().wait()
        finally:
            if file.exists() and CloudFile.read(file) == cloud.described:
                file.unlink()
    return 0


def orders(cloud: LocalCloud, site: Site) -> dict[str, Order]:
    """What other terminals may tell a running cloud to do."""

    async def look() -> None:
        pass

    async def adopt() -> bool:
        whole = await cloud.adopt()
        if whole:
            await _announce(cloud, site)
        return whole

    return {"look": look, "make way": cloud.make_way, "adopt": adopt}


@asynccontextmanager
async def console(cloud: LocalCloud) -> AsyncIterator[Site]:
    """The console of what is deployed now, served."""
    await asyncio.to_thread(_write_console, cloud)
    with Site(cloud.log_dir / FOLDER) as site:
        yield site


def _write_console(cloud: LocalCloud) -> None:
    told = Configuration(
        api_url=cloud.api_url,
        cognito_url=f"{cloud.endpoint.url}/",
        client_id=cloud.output("user_pool_client_id"),
        user_pool_id=cloud.output("user_pool_id"),
        stack=cloud.options.stack,
    )
    write(cloud.log_dir / FOLDER, told)


async def _announce(cloud: LocalCloud, site: Site) -> None:
    """Prints what one needs to use what is deployed now."""
    await asyncio.to_thread(_write_console, cloud)
    site.show(cloud.log_dir / FOLDER)
    password = await asyncio.to_thread(create_user, cloud, USER)
    token = await asyncio.to_thread(sign_in, cloud, USER, password)
    (cloud.log_dir / "outputs.json").write_text(json.dumps(cloud.recording.outputs))
    told = {"console": site.url, "user": USER, "password": password, "token": token}
    replies, operator = cloud.output("replies_bucket"), cloud.endpoint.operator
    print(HELP.format(cloud=cloud, replies=replies, operator=operator, **told), flush=True)

"""`make local`: the local cloud, kept running, and what one needs to use it."""

import argparse
import asyncio
import json
import time
from pathlib import Path

from local.cloud import LocalCloud, Options
from local.commands.shared import say
from local.control import Order, cloud_file, taking_orders
from local.deployment.provider.cloud import CloudFile
from local.users import login

HELP = """
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
    async with LocalCloud(options, say) as cloud:
        await _announce(cloud)
        file.parent.mkdir(parents=True, exist_ok=True)
        cloud.described.write(file)
        try:
            async with taking_orders(Path(cloud.described.control), orders(cloud)):
                await asyncio.Event().wait()
        finally:
            if file.exists() and CloudFile.read(file) == cloud.described:
                file.unlink()
    return 0


def orders(cloud: LocalCloud) -> dict[str, Order]:
    """What other terminals may tell a running cloud to do."""

    async def look() -> None:
        pass

    async def adopt() -> bool:
        whole = await cloud.adopt()
        if whole:
            await _announce(cloud)
        return whole

    return {"look": look, "make way": cloud.make_way, "adopt": adopt}


async def _announce(cloud: LocalCloud) -> None:
    """Prints what one needs to use what is deployed now."""
    token = await asyncio.to_thread(login, cloud, f"ada-{time.time_ns()}@example.com")
    (cloud.log_dir / "outputs.json").write_text(json.dumps(cloud.recording.outputs))
    print(_help(cloud, token), flush=True)


def _help(cloud: LocalCloud, token: str) -> str:
    replies = cloud.output("replies_bucket")
    operator = cloud.endpoint.operator
    return HELP.format(cloud=cloud, token=token, replies=replies, operator=operator)

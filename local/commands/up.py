"""`make local`: the local cloud, kept running, and what one needs to use it."""

import argparse
import asyncio
import json

from local.cloud import LocalCloud, Options
from local.commands.shared import say
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
    """Keeps the local cloud running until Ctrl-C."""
    options = Options(stack=arguments.stack, port=arguments.port)
    async with LocalCloud(options, say) as cloud:
        token = await asyncio.to_thread(login, cloud)
        (cloud.log_dir / "outputs.json").write_text(json.dumps(cloud.recording.outputs))
        print(_help(cloud, token), flush=True)
        await asyncio.Event().wait()
    return 0


def _help(cloud: LocalCloud, token: str) -> str:
    replies = cloud.output("replies_bucket")
    operator = cloud.endpoint.operator
    return HELP.format(cloud=cloud, token=token, replies=replies, operator=operator)

"""A picture of the dashboard from the local cloud's own metrics (`make dashboard-picture`).

A local cloud, its clock scaled, has half an hour of a small team: bursts of prompts, one who sends
too many, cancelled ones, a node that boots twice and rests in between. What CloudWatch was told
meanwhile is drawn as the deployed dashboard says.
"""

import argparse
import asyncio
import json
import sys
import time

import httpx

from local.aws.ec2 import Delays
from local.cloud import LocalCloud, Options
from local.users import login
from recording import shipped
from recording.model import ROOT
from tools import drawing

PICTURE = ROOT / "docs" / "dashboard.png"
STACK, USER = "dev", "ada@example.com"
SECONDS_PER_MINUTE = 3.0
# In minutes of the scaled clock.
BURSTS, BETWEEN = 3, 8
JOBS, TOO_MANY = 4, 9
ABSENT = {
    "TLFIF/GPU": "this machine has no GPU",
    "AWS/ElastiCache": "this queue is a Valkey of ours",
}


async def picture() -> None:
    """Runs the cloud and draws what came of it."""
    shipped.show()
    options = Options(
        stack=STACK,
        lane=False,
        seconds_per_minute=SECONDS_PER_MINUTE,
        delays=Delays(pending_s=2.0),
    )
    async with LocalCloud(options, _say) as cloud:
        began = time.time()
        token = await asyncio.to_thread(login, cloud, USER)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as client:
            for number in range(BURSTS):
                _say(f"burst {number + 1} of {BURSTS}")
                await _burst(client, cloud.api_url, last=number == BURSTS - 1)
                await asyncio.sleep(BETWEEN * SECONDS_PER_MINUTE)
        cloudwatch = cloud.moto.client("cloudwatch")
        deployed = await asyncio.to_thread(
            cloudwatch.get_dashboard, DashboardName=f"tl-fif-{STACK}"
        )
        scene = drawing.Scene(
            ask=cloud.platform.metrics.statistic,
            begin=began,
            end=time.time(),
            minute_s=SECONDS_PER_MINUTE,
            states={name: each.state for name, each in cloud.platform.alarms.alarms.items()},
            caption=f"tl-fif-{STACK} in the local cloud: minutes of a clock in which one takes "
            f"{SECONDS_PER_MINUTE:g} s",
            absent=ABSENT,
        )
        drawing.draw(json.loads(deployed["DashboardBody"]), scene, PICTURE)
    _say(f"written: {PICTURE.relative_to(ROOT)}")


async def _burst(client: httpx.AsyncClient, api: str, *, last: bool) -> None:
    """Some prompts, of which one is cancelled; at last more than a user may send."""
    prompts = TOO_MANY if last else JOBS
    body = {"prompt": "Hello", "max_tokens": 16, "idle_minutes": 1}
    asked = [client.post(f"{api}/infer", json=body) for _ in range(prompts)]
    answers = await asyncio.gather(*asked)
    jobs = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    await client.delete(f"{api}/infer/{jobs[-1]}")
    for _ in range(2 * BETWEEN):
        await client.get(f"{api}/infer/{jobs[0]}")
        await asyncio.sleep(SECONDS_PER_MINUTE / 4)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(picture())

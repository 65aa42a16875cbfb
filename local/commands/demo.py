"""`make demo`: the whole system on this machine answers a prompt, shown as it happens."""

import argparse
import asyncio
import json
import time
from typing import Any

from gui.client import Client, ClientError, Job
from local.aws.ec2 import Delays
from local.cloud import LocalCloud, Options
from local.commands.shared import SECONDS_PER_MINUTE, CommandError
from local.users import login
from recording import kinds
from tlfif import environment, names

USER = "ada@example.com"
IDLE_MINUTES = 1
# Greedy and bounded: how long the demo takes is no matter of luck.
OPTIONS: dict[str, Any] = {"idle_minutes": IDLE_MINUTES, "max_tokens": 256, "temperature": 0}
_SHOWN = 60
STOP_TIMEOUT_S = READY_TIMEOUT_S = 60.0
POLL_S = 0.1
# EC2 takes 20 to 30 s; what follows takes the node's processors here, which the lane has too.
PENDING_S = 5.0


class DemoError(CommandError):
    """The demo did not end as it should; the message says where."""


class Timeline:
    """One line per event with the seconds since the command was given."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._open = False

    def say(self, what: str, detail: str = "") -> None:
        """An event; `detail` in plain words."""
        self.end_line()
        print(f"{time.monotonic() - self._began:6.1f} s  {what:<14} {detail}".rstrip(), flush=True)

    def stream(self, text: str) -> None:
        """A piece of the reply, as it arrives."""
        if not self._open:
            print(" " * 10, end="")
        self._open = True
        print(text.replace("\n", "\n" + " " * 10), end="", flush=True)

    def end_line(self) -> None:
        if self._open:
            print(flush=True)
        self._open = False


async def answer(arguments: argparse.Namespace, began: float) -> int:
    """Answers a prompt while the node boots, and again when it is ready, cold boot to idle stop; 0
    when the replies are done and the node stopped itself.

    `began` is when the command was given, in s of the monotonic clock.
    """
    require_prompt(arguments.prompt)
    show = Timeline(began)
    options = Options(
        stack=arguments.stack,
        engine=arguments.engine == "pulumi",
        port=arguments.port,
        lane=True,
        seconds_per_minute=SECONDS_PER_MINUTE,
        delays=Delays(pending_s=PENDING_S),
    )
    async with LocalCloud(options, lambda text: show.say("cloud", text)) as cloud:
        watch_nodes(cloud, show)
        require_off(cloud)
        show.say("node", "off: no model process, instance stopped; so is the instant lane")
        token = await asyncio.to_thread(login, cloud, USER)
        show.say("signed in", f"as {USER}, by Cognito")
        with Client(cloud.api_url, token) as client:
            try:
                replies, lane = await prompts(client, arguments.prompt, show)
            except ClientError as error:
                raise DemoError(str(error)) from error
        await until_stopped(cloud, show)
        require_off(cloud)
        require_self_stop(cloud)
        summary(cloud, replies, lane, show)
    show.say("end", "everything is stopped again")
    return 0


def require_prompt(text: str) -> None:
    """Raises DemoError for a prompt that the API would refuse, before anything is started."""
    shown, fix = f"PROMPT = {text[:_SHOWN]!r}", "make demo PROMPT='What is a GPU?'"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise DemoError(f"{shown}: it is no text in UTF-8; ask as in {fix}") from None
    if not text.strip(" \t\r\n"):
        raise DemoError(f"{shown}: it is blank; ask something, as in {fix}")
    if size > names.MAX_PROMPT_BYTES:
        most = f"a prompt has at most {names.MAX_PROMPT_BYTES}; make it shorter"
        raise DemoError(f"{shown}…: it is {size} bytes long in UTF-8, and {most}")


async def prompts(
    client: Client, text: str, show: Timeline
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Posts the prompt, and again when the node is ready; the replies, and what /status says of the
    lane. Raises DemoError, ClientError.
    """
    job = await post(client, text, show)
    phases = asyncio.create_task(show_phases(client, show))
    try:
        replies = [await follow(client, job, show)]
        await asyncio.wait_for(phases, READY_TIMEOUT_S)
    except TimeoutError:
        raise DemoError(f"the node was not ready in {READY_TIMEOUT_S:g} s") from None
    finally:
        phases.cancel()
    replies.append(await follow(client, await post(client, text, show), show))
    return replies, (await asyncio.to_thread(client.status))["lane"]


async def post(client: Client, text: str, show: Timeline) -> Job:
    """Posts a prompt; raises ClientError."""
    job = await asyncio.to_thread(lambda: client.infer(text, **OPTIONS))
    show.say("accepted", f"202 {job.answer}")
    return job


async def follow(client: Client, job: Job, show: Timeline) -> dict[str, Any]:
    """Streams the reply; raises DemoError unless it ends as done."""
    shown = 0
    replies = client.follow(job, every_s=POLL_S)
    while (reply := await asyncio.to_thread(next, replies, None)) is not None:
        text = reply.get("text", "")
        if len(text) < shown:
            # Another worker has begun again.
            show.end_line()
            shown = 0
        if text and not shown:
            waited_ms = reply["first_token_at"] - reply["created_at"]
            show.say("first token", f"from {who(reply)}, {waited_ms} ms after acceptance")
        if len(text) > shown:
            show.stream(text[shown:])
        shown = len(text)
        if reply["status"] == "done":
            tokens, speed = reply["completion_tokens"], reply["tokens_per_second"]
            show.say("done", f"{tokens} tokens, {speed:.0f} tokens/s")
            return reply
        if reply["status"] != "running":
            why = reply.get("error") or reply.get("reason")
            raise DemoError(f"the job ended as {reply['status']}: {why}")
    raise DemoError("the reply ended without a final status")


def who(reply: dict[str, Any]) -> str:
    """Whose answer it is, in plain words."""
    return "the instant lane" if reply["engine"] == names.LANE_ENGINE else "the node"


async def show_phases(client: Client, show: Timeline) -> None:
    """Shows what GET /status says of node and lane, each time it changes, until the node is
    ready.
    """
    texts = {
        "lane loading": "weights from S3, then the engine",
        "lane working": "it takes jobs until the node is ready",
        "node loading": "the model is being loaded",
        "node ready": "a real completion worked; it takes over",
    }
    last: set[str] = set()
    while "node ready" not in last:
        status = await asyncio.to_thread(client.status)
        now = {f"lane {status['lane']['phase']}", f"node {status['node']}"}
        for each in sorted(now - last):
            if each in texts:
                show.say(each, texts[each])
        last = now
        await asyncio.sleep(POLL_S)


def watch_nodes(cloud: LocalCloud, show: Timeline) -> None:
    """Shows EC2's states."""
    texts = {
        "pending": "EC2 starts the instance",
        "running": "watcher and model server are starting",
    }

    def on_state(instance_id: str, state: str) -> None:
        show.say(f"node {state}", texts.get(state, ""))

    cloud.endpoint.on_instance_state(on_state)


async def until_stopped(cloud: LocalCloud, show: Timeline) -> None:
    """Waits for the idle stop."""
    here_s = IDLE_MINUTES * SECONDS_PER_MINUTE
    show.say("idle", f"the node rests after {IDLE_MINUTES} min, here {here_s:g} s")
    [instance_id] = cloud.nodes

    async def stopped() -> bool:
        # EC2 says so a moment before the last process is gone.
        off = await cloud.endpoint.instances.state(instance_id) == "stopped"
        return off and not cloud.nodes[instance_id].pids

    await cloud.until(stopped, STOP_TIMEOUT_S, "the node stopped itself, and its processes ended")


def require_off(cloud: LocalCloud) -> None:
    """Raises DemoError while a process of a node is alive."""
    alive = [kind for node in cloud.nodes.values() for kind in node.pids]
    if alive:
        raise DemoError(f"the node should be off, but its {' and '.join(alive)} run")


def require_self_stop(cloud: LocalCloud) -> None:
    """Raises DemoError unless StopInstances was called with the node's own credentials."""
    callers = [
        call.instance_arn for call in cloud.endpoint.calls if call.operation == "StopInstances"
    ]
    if len(callers) != 1 or callers[0] is None:
        raise DemoError(f"one StopInstances by the node itself was expected, there were: {callers}")


def summary(
    cloud: LocalCloud, replies: list[dict[str, Any]], lane: dict[str, Any], show: Timeline
) -> None:
    """What the answers cost on AWS: the lane's seconds, and the GPU's price from its start to its
    idle stop.
    """
    settings = cloud.recording.one(kinds.ssm.PARAMETER.token, "gpu-node-settings")
    told = environment.Node.read(json.loads(settings.inputs["insecureValue"]))
    price = told.gpu_eur_per_hour
    boot_s, idle_min = names.BOOT_ETA_S, names.DEFAULT_IDLE_MINUTES
    first, last = replies
    if first["engine"] == names.LANE_ENGINE:
        parts = f"the answer €{first['eur']:.5f}; {lane['seconds']:.1f} s here, weights and all"
        show.say("cost", f"by the lane about €{lane['eur']:.5f}: {parts}")
    else:
        show.say("lane", "the node was faster: this machine has much to do besides")
    seconds = boot_s + (last["finished_at"] - last["started_at"]) / 1000 + idle_min * 60
    parts = f"{boot_s} s boot, the answer, {idle_min} min idle at €{price:.3f}/h"
    show.say("cost", f"by the node about €{seconds * price / 3600:.3f}: {parts}")

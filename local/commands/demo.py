"""`make demo` and `make local`: the whole system on this machine, shown as it happens."""

import argparse
import asyncio
import json
import time
from typing import Any

from components.bundle import BundleError
from gui.client import ApiError, Client, Job, sign_in
from local.aws.ec2 import Delays
from local.cloud import LocalCloud, Options
from local.machine.ports import PortTakenError
from local.machine.processes import ProcessError
from local.node.model_file import ModelMissingError
from tlfif import names

USER = "ada@example.com"
IDLE_MINUTES = 1
# A minute of the demo: the node rests after two seconds instead of sixty.
SECONDS_PER_MINUTE = 2.0
# Greedy and bounded: how long the demo takes is no matter of luck.
OPTIONS: dict[str, Any] = {"idle_minutes": IDLE_MINUTES, "max_tokens": 256, "temperature": 0}
STOP_TIMEOUT_S = 30.0
POLL_S = 0.1


class DemoError(RuntimeError):
    """The demo did not end as it should; the message says where."""


# What a person can do something about: one line, no traceback.
EXPECTED = (
    PortTakenError,
    ProcessError,
    BundleError,
    ModelMissingError,
    FileNotFoundError,
    ApiError,
    DemoError,
    TimeoutError,
)


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
    """Answers one prompt: cold boot to idle stop; 0 when the reply is done and the node stopped
    itself.

    `began` is when the command was given, in s of the monotonic clock.
    """
    show = Timeline(began)
    options = Options(
        stack=arguments.stack,
        port=arguments.port,
        seconds_per_minute=SECONDS_PER_MINUTE,
        delays=Delays(pending_s=0.6),
    )
    async with LocalCloud(options, lambda text: show.say("cloud", text)) as cloud:
        watch_nodes(cloud, show)
        require_off(cloud)
        show.say("node", "off: no model process, instance stopped")
        token = await asyncio.to_thread(login, cloud)
        show.say("signed in", f"as {USER}, by Cognito")
        with Client(cloud.api_url, token) as client:
            reply = await prompt(client, arguments.prompt, show)
            await until_stopped(cloud, show)
        require_off(cloud)
        require_self_stop(cloud)
        summary(cloud, reply, show)
    show.say("end", "everything is stopped again")
    return 0


async def prompt(client: Client, text: str, show: Timeline) -> dict[str, Any]:
    """Posts the prompt and shows its way to the final reply."""
    job = await asyncio.to_thread(lambda: client.infer(text, **OPTIONS))
    show.say("accepted", f"202 {job.answer}")
    phases = asyncio.create_task(show_phases(client, show))
    try:
        return await follow(client, job, show)
    finally:
        phases.cancel()


async def follow(client: Client, job: Job, show: Timeline) -> dict[str, Any]:
    """Streams the reply; raises DemoError unless it ends as done."""
    shown = 0
    replies = client.follow(job, every_s=POLL_S)
    while (reply := await asyncio.to_thread(next, replies, None)) is not None:
        text = reply.get("text", "")
        if text and not shown:
            show.say(
                "first token",
                f"after {reply['first_token_at'] - reply['created_at']} ms from acceptance",
            )
        if len(text) > shown:
            show.stream(text[shown:])
        shown = len(text)
        if reply["status"] == "done":
            show.say(
                "done",
                f"{reply['completion_tokens']} tokens, {reply['tokens_per_second']:.0f} tokens/s",
            )
            return reply
        if reply["status"] != "running":
            raise DemoError(
                f"the job ended as {reply['status']}: {reply.get('error') or reply.get('reason')}"
            )
    raise DemoError("the reply ended without a final status")


async def show_phases(client: Client, show: Timeline) -> None:
    """Shows what GET /status says of the node, each time it changes, until the node is ready."""
    last, texts = "", {"loading": "the model is being loaded", "ready": "a real completion worked"}
    while last != "ready":
        now = (await asyncio.to_thread(client.status))["node"]
        if now != last and now in texts:
            show.say(f"node {now}", texts[now])
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
    show.say(
        "idle",
        f"the node rests after {IDLE_MINUTES} min, here {IDLE_MINUTES * SECONDS_PER_MINUTE:g} s",
    )
    [instance_id] = cloud.nodes

    async def stopped() -> bool:
        return await cloud.endpoint.instances.state(instance_id) == "stopped"

    await cloud.until(stopped, STOP_TIMEOUT_S, "the node stopped itself")


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


def login(cloud: LocalCloud, user: str = USER) -> str:
    """A new user's access token, as any client gets one."""
    password = cloud.create_user(user)
    try:
        return sign_in(cloud.endpoint.url, cloud.output("user_pool_client_id"), user, password)
    except ApiError as error:
        raise DemoError(f"Cognito refused the sign-in: {error}") from error


def summary(cloud: LocalCloud, reply: dict[str, Any], show: Timeline) -> None:
    """What the same answer costs on AWS: the GPU's price from its start to its idle stop."""
    price = float(cloud.function("router").environment["TLFIF_GPU_EUR_PER_HOUR"])
    seconds = names.BOOT_ETA_S + (reply["finished_at"] - reply["started_at"]) / 1000
    session = (seconds + names.DEFAULT_IDLE_MINUTES * 60) * price / 3600
    parts = f"{names.BOOT_ETA_S} s boot, the answer, {names.DEFAULT_IDLE_MINUTES} min idle at €{price:.3f}/h"
    show.say("cost", f"on AWS about €{session:.3f}: {parts}")


async def stay_up(arguments: argparse.Namespace) -> int:
    """Keeps the local cloud running until Ctrl-C."""
    options = Options(stack=arguments.stack, port=arguments.port)
    async with LocalCloud(options, lambda text: print(f"tl-fif: {text}", flush=True)) as cloud:
        token = await asyncio.to_thread(login, cloud)
        (cloud.log_dir / "outputs.json").write_text(json.dumps(cloud.recording.outputs))
        print(
            HELP.format(cloud=cloud, token=token, replies=cloud.output("replies_bucket")),
            flush=True,
        )
        await asyncio.Event().wait()
    return 0


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
export AWS_ACCESS_KEY_ID={cloud.endpoint.operator.access_key} AWS_SECRET_ACCESS_KEY={cloud.endpoint.operator.secret}
make user EMAIL=you@example.com OUTPUTS={cloud.log_dir}/outputs.json

Ctrl-C stops everything.
"""

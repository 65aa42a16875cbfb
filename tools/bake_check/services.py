"""Starts the baked services in the root, as tl-fif.service does, and has a job and a prompt
answered.

The caller is in a network namespace of its own: the node's own ports are free, and nothing beyond
this machine can be reached. The queue and AWS's APIs run beside the root.
"""

import asyncio
import configparser
import contextlib
import json
import os
import shlex
import ssl
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto, start_moto
from local.machine.processes import Processes
from local.machine.valkey import Valkey, start_valkey
from tlfif import names, replies, serving
from tlfif.queue import accepting, scripts
from tools.bake_check.root import Root, RootError

STACK, REGION, BUCKET = "bake", "us-east-1", "replies-of-bake"
UNIT = "etc/systemd/system/tl-fif.service"
TRUST = '{"Version": "2012-10-17", "Statement": []}'
READY_S, ANSWER_S, STOP_S = 180.0, 180.0, 70.0
PROMPT = "What is the capital of France?"


async def answered(root: Root, model: serving.Model, logs: Path) -> list[str]:
    """What was asked and answered, a line each. Raises RootError."""
    async with _cloud(logs, model) as (endpoint, valkey, moto, instance):
        await endpoint.instances.start([instance])
        environment = {
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint.imds_url(instance),
            "TLFIF_BOOTED_AT": str(time.monotonic()),
        }
        with _supervised(root, environment, logs) as process:
            began = time.monotonic()
            await _until("a job is answered", process, logs, READY_S, lambda: _is_ready(valkey))
            ready = time.monotonic() - began
            lines = [f"watcher: ready after {ready:.1f} s", _running(root, process)]
            lines.append(await _asked("http://127.0.0.1:8000", model.served_name))
            if (root.path / "srv/tl-fif/gpu_image/nginx.conf").exists():
                lines.append(await _asked("https://127.0.0.1:443", model.served_name))
            lines.append(await _job(valkey, moto, process, logs))
        lines.append("supervisord: ended, and all of its programs")
    return lines


@contextlib.asynccontextmanager
async def _cloud(
    logs: Path, model: serving.Model
) -> AsyncIterator[tuple[Endpoint, Valkey, Moto, str]]:
    async with Processes(logs) as procs:
        valkey = await start_valkey(procs)
        moto = await start_moto(procs, REGION)
        moto.client("s3").create_bucket(Bucket=BUCKET)
        instance = _make_instance(moto, valkey, model)
        async with Endpoint(moto) as endpoint:
            yield endpoint, valkey, moto, instance


def _make_instance(moto: Moto, valkey: Valkey, model: serving.Model) -> str:
    """A stopped instance with its role, and its stack's parameter; its id."""
    told = {
        "TLFIF_STACK": STACK,
        "TLFIF_REGION": REGION,
        "TLFIF_REDIS_HOST": valkey.host,
        "TLFIF_REDIS_PORT": str(valkey.port),
        "TLFIF_REPLIES_BUCKET": BUCKET,
        "TLFIF_MODEL": model.served_name,
        "TLFIF_GPU_SLOTS": "2",
        "TLFIF_MAX_LIFETIME_HOURS": "1",
    }
    moto.client("ssm").put_parameter(
        Name=names.node_parameter(STACK), Type="String", Value=json.dumps(told)
    )
    iam, ec2 = moto.client("iam"), moto.client("ec2")
    iam.create_role(RoleName="node", AssumeRolePolicyDocument=TRUST)
    iam.create_instance_profile(InstanceProfileName="node")
    iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
    made = ec2.run_instances(
        ImageId=moto.publish_image(names.AMI_PARAMETER),
        MinCount=1,
        MaxCount=1,
        UserData=json.dumps({"TLFIF_STACK": STACK}),
        IamInstanceProfile={"Name": "node"},
    )
    instance_id: str = made["Instances"][0]["InstanceId"]
    ec2.stop_instances(InstanceIds=[instance_id])
    return instance_id


@contextlib.contextmanager
def _supervised(root: Root, environment: Mapping[str, str], logs: Path) -> Any:
    """supervisord inside, by the commands of the baked unit; ended by SIGTERM, as systemd does."""
    unit = configparser.RawConfigParser(strict=False)
    unit.read(root.path / UNIT)
    service = unit["Service"]
    for name in ("run/tl-fif", "var/log/tl-fif"):
        (root.path / name).mkdir(parents=True, exist_ok=True)
    root.run(*shlex.split(service["ExecStartPre"]))
    own = {"PATH": root.environment()["PATH"], "LANG": "C.UTF-8", **environment}
    with (logs / "supervisord.log").open("wb") as log:
        process = subprocess.Popen(
            root.command(shlex.split(service["ExecStart"])), env=own, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise RootError(f"supervisord has not ended {STOP_S:g} s after SIGTERM") from None


async def _until(what: str, process: Any, logs: Path, within_s: float, holds: Any) -> None:
    give_up = time.monotonic() + within_s
    while not await asyncio.to_thread(holds):
        if process.poll() is not None or time.monotonic() > give_up:
            said = (logs / "supervisord.log").read_text(errors="replace").splitlines()[-20:]
            raise RootError(f"not so after {within_s:g} s: {what}\n" + "\n".join(said))
        await asyncio.sleep(0.1)


def _is_ready(valkey: Valkey) -> bool:
    with valkey.server.operator() as redis:
        return [node["phase"] for node in scripts.run(redis, accepting.status()).nodes] == ["ready"]


def _running(root: Root, process: "subprocess.Popen[bytes]") -> str:
    """What supervisord's programs are, and whose."""
    # The root's own: this machine's /proc numbers processes as its own namespace does.
    proc = root.path / "proc"
    children = (proc / f"{process.pid}/task/{process.pid}/children").read_text().split()
    told = []
    for pid in children:
        words = (proc / pid / "cmdline").read_bytes().split(b"\0")
        command = " ".join(os.fsdecode(word) for word in words[:4] if word)
        told.append(f"{_owner(root, (proc / pid).stat().st_uid)}: {command[:70]}")
    return "running: " + "; ".join(sorted(told))


def _owner(root: Root, uid: int) -> str:
    for line in (root.path / "etc/passwd").read_text().splitlines():
        name, _, number, *_ = line.split(":")
        if number == str(uid):
            return name
    return str(uid)


async def _asked(url: str, model: str) -> str:
    """A prompt, by the engine's own API."""
    insecure = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    message = {"role": "user", "content": PROMPT}
    body = {"model": model, "messages": [message], "max_tokens": 24}
    async with httpx.AsyncClient(verify=insecure, trust_env=False, timeout=ANSWER_S) as client:
        answer = await client.post(f"{url}/v1/chat/completions", json=body)
    if answer.status_code != 200:
        raise RootError(f"{url}: {answer.status_code} {answer.text[:300]}")
    if not (text := answer.json()["choices"][0]["message"]["content"]):
        raise RootError(f"{url}: an empty answer: {answer.text[:300]}")
    return f"{url}: 200 {text!r}"


async def _job(valkey: Valkey, moto: Moto, process: Any, logs: Path) -> str:
    """A job through the queue: the watcher takes it, and its reply is in the bucket."""
    job = accepting.NewJob(
        id=str(uuid.uuid4()), sub="ada", prompt=PROMPT, idle_minutes=5, options={"max_tokens": 24}
    )
    with valkey.server.operator() as redis:
        scripts.run(redis, accepting.accept(job, accepting.Limits()))

    def reply() -> Mapping[str, Any]:
        found = replies.read(moto.client("s3"), BUCKET, job.reply_key)
        return found[0] if found else {"status": ""}

    await _until(
        "the job has its final reply", process, logs, ANSWER_S,
        lambda: reply()["status"] in replies.FINAL,
    )  # fmt: skip
    if reply()["status"] != "done":
        raise RootError(f"the job's reply: {reply()}")
    return f"job {job.id}: {reply()['status']} {reply()['text'][:60]!r}"

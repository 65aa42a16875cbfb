"""A local node with nginx before its engine, and that nothing of it is left."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from support.calls import eventually
from support.nginx import NGINX, trusting
from support.node_stack import Stack, alive, node_stack, until

from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.machine.processes import Processes
from local.machine.valkey import Valkey
from recording.model import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-005"), NGINX]

ENGINE = [sys.executable, "-m", "support.scripted_model", "--port", "{port}"]
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "gpu_image", ROOT / "tests"))),
    "TLFIF_GRACE_S": "0.5",
}
BODY = {"messages": [{"role": "user", "content": "tokens=3"}], "stream": True}


@pytest_asyncio.fixture
async def stack(
    procs: Processes, moto: Moto, endpoint: Endpoint, valkey: Valkey
) -> AsyncIterator[Stack]:
    commands = {"model": ENGINE}
    made = node_stack(
        procs, moto, endpoint, valkey, environment=ENVIRONMENT, commands=commands, tls=True
    )
    async with made as stack:
        yield stack


async def boot(stack: Stack) -> Path:
    """Boots the node; its certificate, once the engine answers by it."""
    await stack.start()
    await stack.ready()
    proxy = stack.node.proxy
    assert proxy is not None
    await until(proxy.certificate.exists)
    async with httpx.AsyncClient(verify=trusting(proxy.certificate), trust_env=False) as client:

        async def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                answer = await client.post(f"{proxy.url}/v1/chat/completions", json=BODY)
                return answer.text.endswith("[DONE]\n\n")
            return False

        await eventually(answers)
    return proxy.certificate


def group_of(leader: int) -> list[int]:
    """The processes of a group that run."""
    pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
    return [pid for pid in pids if alive(pid) and os.getpgid(pid) == leader]


async def test_a_node_has_a_certificate_from_its_first_boot_on_and_leaves_nothing(
    stack: Stack, procs: Processes
) -> None:
    certificate = await boot(stack)
    first = certificate.read_bytes()
    about = ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", str(certificate)]
    said = await asyncio.to_thread(subprocess.check_output, about, text=True)
    assert f"DNS:{stack.node.instance_id}" in said
    assert set(stack.node.pids) == {"model", "watcher", "nginx"}
    processes = group_of(stack.node.pids["nginx"])
    assert len(processes) == 2, "master and worker"
    await stack.endpoint.instances.stop([stack.node.instance_id])
    await eventually(stack.is_stopped)
    assert stack.node.proxy is None
    assert not any(alive(pid) for pid in processes)

    assert (await boot(stack)).read_bytes() == first
    log = procs.log_dir / f"{stack.node.instance_id}-nginx.log"
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [line["made"] for line in lines if "made" in line] == [True, False]

    processes = group_of(stack.node.pids["nginx"])
    os.kill(os.getsid(processes[0]), signal.SIGKILL)
    await until(lambda: not any(alive(pid) for pid in processes), 5)

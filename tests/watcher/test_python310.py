"""The watcher under the node's Python, 3.10, with the node's packages: a process that lives a whole
life there, and every module it may import.
"""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support import python310

from bench.nodes import Node, Nodes, nodes, serve_script, until
from recording.model import ROOT
from tlfif.queue import accepting

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003", "EC2-004")]

# The bundles' own packages (python-jose) are Lambda's, where Python is newer.
NOT_ON_THE_NODE = {"tlfif.tokens"}
IMPORT_EACH = """
import importlib, sys
assert sys.version_info[:2] == (3, 10), sys.version
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


@pytest.fixture(scope="module")
def python() -> str:
    return str(python310.interpreter())


def modules() -> list[str]:
    """Every module that is put on the node; not __main__, which runs."""
    found: list[str] = []
    for root, package in ((ROOT, "tlfif"), (ROOT, "worker"), (ROOT / "gpu_image", "watcher")):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found.append(".".join(parts).removesuffix(".__init__"))
    found += [path.stem for path in sorted((ROOT / "gpu_image").glob("*.py"))]
    return [name for name in found if name not in NOT_ON_THE_NODE and not name.endswith("__main__")]


def test_every_module_of_the_node_is_imported(python: str) -> None:
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'gpu_image'}", "PYTHONWARNINGS": "error"}
    imported = subprocess.run(
        [python, "-c", IMPORT_EACH, *modules()], env=env, cwd=ROOT, capture_output=True, text=True
    )
    assert imported.returncode == 0, imported.stderr


@pytest_asyncio.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with nodes(
        tmp_path / "logs",
        TLFIF_SECONDS_PER_MINUTE="1",
        TLFIF_LEASE_RENEW_S="0.2",
        TLFIF_LEASE_IDLE_S="1",
        TLFIF_GRACE_S="0.5",
    ) as stack:
        yield stack


async def test_a_life_on_the_nodes_python(stack: Nodes, python: str) -> None:
    node, engine = await stack.add(), await serve_script(stack.procs)
    await node.boot(engine, python)
    done = [node.submit(f"tokens=3 n={number}") for number in range(6)]
    broken = node.submit("tokens=5 break_after=2 faults=1")
    endless = node.submit("tokens=9999 every=0.02")
    for job in done:
        assert (await node.final(job))["status"] == "done"
    assert (await node.final(broken))["status"] == "done", "tried again after the engine failed"
    await begun(stack, endless)
    node.cancel(endless)
    assert (await node.final(endless))["status"] == "cancelled"

    # EC2 stops the machine: what runs is handed back.
    held = node.submit("tokens=200 every=0.02", idle_minutes=1)
    await begun(stack, held)
    await stack.endpoint.instances.stop([node.id])
    await node.stopped()
    assert "handed_back" in events(node)
    assert node.watcher is not None
    assert node.watcher.returncode == 0
    # Its next boot claims it, and stops itself when nothing follows.
    await node.boot(engine, python)
    reply = await node.final(held)
    assert (reply["status"], reply["completion_tokens"]) == ("done", 200)
    await node.stopped()
    assert "resting" in events(node)
    assert stack.last_stop(node.id).role_arn is not None, "by the instance's own credentials"
    assert "crashed" not in events(node)
    assert "job_crashed" not in events(node)


async def begun(stack: Nodes, job: accepting.NewJob) -> None:
    async def so() -> bool:
        return bool(stack.reply(job).get("text"))

    await until(so)


def events(node: Node) -> list[str]:
    return [line["event"] for line in node.log]

"""The instant lane where there is nothing else: no nodes wanted, no image yet, no weights yet."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support.ledger import LEDGER
from support.system import calls
from support.users import signed_in

from local.cloud import NO_HUB, LocalCloud, Options
from local.machine.processes import Processes
from local.node import model_file
from recording.model import ROOT
from tlfif import names

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]


def alone(**changes: Any) -> Options:
    return Options(lane=True, seconds_per_minute=1.0, **changes)


@pytest.mark.story("LAM-004")
async def test_before_the_first_bake_the_lane_answers() -> None:
    async with LocalCloud(alone(baked=False)) as cloud, signed_in(cloud) as ada:
        assert "The instant lane answers already." in cloud.output("next_step")
        assert cloud.nodes == {}
        job = await ada.infer()
        reply = await ada.final(job)
        assert (reply["status"], reply["engine"]) == ("done", names.LANE_ENGINE)


@pytest.mark.story("LAM-004")
async def test_a_stack_without_nodes_says_what_it_lacks_is_healed_by_make_model_and_answers(
    tmp_path: Path,
) -> None:
    config = {"tl-fif:gpu": {"wake": "never"}, "tl-fif:model": {"hub": NO_HUB}}
    async with (
        LocalCloud(alone(config=config)) as cloud,
        signed_in(cloud) as ada,
        Processes(tmp_path / "logs") as procs,
    ):
        LEDGER.watch(cloud)
        assert cloud.output("gpu_instance_ids") == []
        job = await ada.infer()

        status = await ada.until_status(lambda status: "failure" in status["lane"])
        assert "make model STACK=dev" in status["lane"]["failure"]["message"], status
        assert await make_model(cloud, procs, tmp_path) == 0
        # Its ten minutes are over: the guardian calls the lane again.
        with cloud.valkey.operator() as redis:
            redis.delete(names.LANE_FAILURE)
        reply = await ada.final(job)
        assert (reply["status"], reply["engine"]) == ("done", names.LANE_ENGINE)
        assert "failure" not in (await ada.status())["lane"]
        for operation in ("StartInstances", "DescribeInstances"):
            assert calls(cloud, operation) == [], "no nodes, and nobody asks for any"


async def make_model(cloud: LocalCloud, procs: Processes, folder: Path) -> int:
    """`make model FILE=…`, by somebody with an operator's keys; its exit code."""
    outputs = folder / "outputs.json"
    outputs.write_text(json.dumps(cloud.recording.outputs))
    key = cloud.endpoint.operator
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": cloud.endpoint.url,
        "AWS_ACCESS_KEY_ID": key.access_key,
        "AWS_SECRET_ACCESS_KEY": key.secret,
    }
    path = await asyncio.to_thread(model_file.prepare)
    argv = [sys.executable, "-m", "tools.model", "--outputs", str(outputs), "--file", str(path)]
    process = await procs.start("make-model", argv, env=environment, cwd=ROOT)
    return await process.wait()

"""The pipeline's place in a local cloud: what its builds are told there, and who signs in for the
smoke test.
"""

import json
import sys
from collections.abc import Callable, Mapping

from local.cloud import LocalCloud
from local.machine.processes import ProcessError
from local.pipeline.execution import Site
from recording.model import ROOT


def site(
    cloud: LocalCloud, say: Callable[[str, str], None], told: Mapping[str, str] | None = None
) -> Site:
    """Where the builds of a cloud's pipeline run; `told` is what they are told beside the rest."""
    options = cloud.options
    machine = {
        # Others use this machine, too.
        "PUSH_TEST_LIMIT_S": "",
        # The canary's minutes.
        "TLFIF_SECONDS_PER_MINUTE": str(options.seconds_per_minute),
        # The router's functions run here, not on Lambda.
        "TLFIF_BUNDLE_TARGET": "host",
        # Two posts a second and more would be too many of one user's.
        "SMOKE_ARGS": "--every 0.5",
        # Everything here shares the processors: `make bench BENCH=router` is what judges a router.
        "LATENCY_ARGS": "--limit 5000",
        **(told or {}),
    }
    return Site(
        procs=cloud.procs,
        endpoint=cloud.endpoint,
        recording=cloud.recording,
        region=cloud.moto.region,
        folder=cloud.log_dir / "builds",
        machine=machine,
        say=say,
    )


async def make_smoke_user(cloud: LocalCloud, say: Callable[[str], None]) -> None:
    """As an operator does it, once a stack. Raises ProcessError."""
    outputs = cloud.log_dir / "outputs.json"
    outputs.write_text(json.dumps(cloud.recording.outputs))
    key, secret = cloud.endpoint.operator
    environment = {
        "PATH": "/usr/bin:/bin",
        "AWS_ENDPOINT_URL": cloud.endpoint.url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
    }
    command = [sys.executable, "-m", "tools.delivery.smoke_user"]
    child = await cloud.procs.start(
        "smoke-user",
        [*command, "--stack", cloud.options.stack, "--outputs", outputs],
        env=environment,
        cwd=ROOT,
        on_line=say,
    )
    if code := await child.wait():
        raise ProcessError(f"make smoke-user ended with {code}; its log is {child.log}")

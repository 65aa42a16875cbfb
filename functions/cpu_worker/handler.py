"""The instant lane's entry point: answers what waits, while no node is ready.

Whoever accepts or guards jobs calls it, asynchronously; the event `{"token": who called}` is for
the log. Calls of it may overlap and come twice: the queue knows one lane at a time.
"""

import asyncio
import os
import uuid
from functools import cache
from typing import Any

from cpu_worker import lane
from cpu_worker.container import Container, Used, since_process_began
from cpu_worker.engine import Llama
from tlfif import aws, calling
from tlfif.environment import CpuWorker
from tlfif.log import log

# How long Lambda may take to accept the call of the successor.
CALL_TIMEOUT_S = 2.0


@cache
def container() -> Container:
    """Made once per execution environment, by its first call: starting it opens nothing."""
    settings = CpuWorker.read()
    engine = Llama(settings.slots, settings.model, settings.context_tokens)
    return Container(settings, engine, Used(_INIT_S))


def handler(event: Any, context: Any) -> dict[str, str]:
    """The Lambda entry point; what became of it is for the log.

    It fails, which counts as an error of the function, when it could not work: the queue or S3 does
    not answer, there are no weights, the engine does not load. The guardian calls again.
    """
    here = container()
    token = str(uuid.uuid4())
    log("lane_called", by=_caller(event), token=token)

    def left_s() -> float:
        return context.get_remaining_time_in_millis() / 1000

    with here.used.running():
        return {"outcome": asyncio.run(lane.serve(here, token, left_s, call_successor))}


def call_successor(token: str) -> None:
    """Calls this function again. Raises botocore's errors."""
    client = aws.client("lambda", connect_s=CALL_TIMEOUT_S, read_s=CALL_TIMEOUT_S)
    calling.invoke(client, os.environ["AWS_LAMBDA_FUNCTION_NAME"], token)


def _caller(event: Any) -> str:
    return str(event.get("token", ""))[:100] if isinstance(event, dict) else ""


# Paid for like the calls, as far as it is known: what the runtime did before it started Python is
# not.
_INIT_S = since_process_began()

"""Every minute: no live job without a worker on its way, and no dead one without an answer."""

import contextlib
import time
import uuid
from functools import cache
from typing import Any

import redis

from guardian import news
from guardian.guardian import Guardian
from tlfif import names, nodes, replies
from tlfif.calling import Caller
from tlfif.environment import Fleet
from tlfif.log import log
from tlfif.queue import guarding, scripts
from tlfif.queue.guarding import Reconciliation

# Of the function's 50 s: the last batch of replies may take a moment after that.
WORK_S = 40.0
AWS_TIMEOUT_S = 3.0


@cache
def services() -> tuple[Caller, Any, Any]:
    """Made once per execution environment: fleet, queue and who calls the lane; EC2 and S3."""
    fleet = Fleet.read()
    queue = scripts.connect(fleet.redis_host, fleet.redis_port, timeout_s=2.0)
    return (
        Caller(queue, fleet, AWS_TIMEOUT_S),
        nodes.client(AWS_TIMEOUT_S),
        replies.client(AWS_TIMEOUT_S),
    )


def handler(event: object, context: Any) -> None:
    """The Lambda entry point.

    A queue that does not answer fails the run, which counts as an error of the function. While
    another run is under way (Lambda may deliver an event twice), there is nothing to do.
    """
    caller, _, _ = services()
    client = caller.redis
    # Of this run alone: Lambda repeats an event under the same id.
    token = str(uuid.uuid4())
    if not scripts.run(client, guarding.begin_run(names.GUARDIAN, token)):
        log("run skipped", why="another is under way")
        return
    done = False
    try:
        _guard(token)
        done = True
    finally:
        # Should the queue not hear of it, the lease ends by itself.
        with contextlib.suppress(redis.RedisError):
            scripts.run(client, guarding.end_run(names.GUARDIAN, token, done=done))
    news.tell(client, caller.fleet.stack)


def _guard(token: str) -> Reconciliation:
    return Guardian(*services(), token, time.monotonic() + WORK_S).run()

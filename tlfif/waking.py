"""Starting nodes once the queue has granted the right to: the router for its job, the guardian for
all others.
"""

from collections.abc import Mapping
from typing import Any

import redis

from tlfif import emf, names, nodes, queue
from tlfif.log import log


def start(
    client: "redis.Redis", stack: str, token: str, wanted: int, phases: Mapping[str, str], ec2: Any
) -> tuple[nodes.Outcome, str]:
    """Starts up to `wanted` nodes beside those in `phases`: what came of it, and EC2's error code
    or ''.

    The right to wake, held under `token`, is kept while a node comes and given back otherwise: the
    next may try.
    """
    outcome, started, code = nodes.wake(ec2, stack, wanted, phases)
    if started:
        emf.emit(names.NAMESPACE_ROUTER, stack, {names.METRIC_EC2_STARTS: started}, token=token)
    if outcome is nodes.Outcome.NO_CAPACITY:
        emf.emit(
            names.NAMESPACE_ROUTER,
            stack,
            {names.METRIC_EC2_CAPACITY_ERRORS: 1},
            token=token,
            code=code,
        )
    log("wake", token=token, outcome=outcome.value, started=started, code=code)
    if outcome not in (nodes.Outcome.STARTED, nodes.Outcome.COMING):
        queue.run(client, queue.release_wake(token))
    return outcome, code

"""Starts nodes for who has the right to: the router for its job, the guardian for all others."""

from collections.abc import Mapping
from typing import Any

import redis

from tlfif import emf, names, nodes
from tlfif.log import log
from tlfif.queue import accepting, scripts


def start(
    client: "redis.Redis", stack: str, token: str, wanted: int, phases: Mapping[str, str], ec2: Any
) -> tuple[nodes.Outcome, str]:
    """Starts up to `wanted` nodes beside those in `phases`; the outcome, EC2's error code or ''.

    The right to wake, held under `token`, is kept while a node comes and given back otherwise: the
    next may try.
    """
    outcome, started, code = nodes.wake(ec2, stack, wanted, phases)
    space = names.NAMESPACE_ROUTER
    if started:
        emf.emit(space, stack, {names.METRIC_EC2_STARTS: started}, token=token)
    if outcome is nodes.Outcome.NO_CAPACITY:
        emf.emit(space, stack, {names.METRIC_EC2_CAPACITY_ERRORS: 1}, token=token, code=code)
    log("wake", token=token, outcome=outcome.value, started=started, code=code)
    if outcome not in (nodes.Outcome.STARTED, nodes.Outcome.COMING):
        scripts.run(client, accepting.release_wake(token))
    return outcome, code

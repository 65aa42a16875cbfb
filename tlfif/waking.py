"""Starts nodes for who has the right to: the router for its job, the guardian for all others."""

from collections.abc import Collection, Mapping
from typing import Any

import redis

from tlfif import aws, emf, names, nodes
from tlfif.calling import Caller
from tlfif.log import log
from tlfif.queue import accepting, guarding, scripts


def start(
    caller: Caller,
    token: str,
    wanted: int,
    phases: Mapping[str, str],
    ec2: Any,
    avoid: Collection[str] = (),
) -> tuple[nodes.Outcome, str]:
    """Starts up to `wanted` nodes beside those in `phases`; the outcome, EC2's error code or ''.

    The right to wake, held under `token`, is kept while a node comes and given back otherwise: the
    next may try, and the instant lane is called for what was left to the node. Whom EC2 promised to
    start is noted, and why it did not: `fell_back` asks later. So are the zones that had no
    machine: for a while they are asked last.
    """
    client, stack = caller.redis, caller.fleet.stack
    space = names.NAMESPACE_ROUTER
    known_empty = scripts.run(client, accepting.empty_zones())
    woken = nodes.wake(ec2, stack, wanted, phases, avoid, known_empty)
    outcome, started, code, empty = woken
    if started:
        emf.emit(space, stack, {names.METRIC_EC2_STARTS: len(started)}, token=token)
    if outcome is nodes.Outcome.NO_CAPACITY:
        emf.emit(space, stack, {names.METRIC_EC2_CAPACITY_ERRORS: 1}, token=token, code=code)
    failed = outcome in (nodes.Outcome.NO_CAPACITY, nodes.Outcome.UNKNOWN)
    why = nodes.explain(code) if failed else ""
    level = "ERROR" if failed else "INFO"
    told = {"outcome": outcome.value, "started": started, "code": code, "emptyZones": empty}
    log("wake", level, token=token, **told, why=why)
    kept = outcome in (nodes.Outcome.STARTED, nodes.Outcome.COMING)
    if started or not kept:
        failure = (code, why) if failed else None
        note = accepting.woken(token, started, kept=kept, failure=failure, empty_zones=empty)
        scripts.run(client, note)
    if not kept and outcome is not nodes.Outcome.LATCHED:
        caller.call_if_wanted()
    return outcome, code


def fell_back(client: "redis.Redis", stack: str, ec2: Any, started: Mapping[str, int]) -> list[str]:
    """Finds nodes that EC2 promised to start and that are stopped again; their ids.

    `started`: by id, how many ms ago. They are counted, the reason is noted for `GET /status` and
    for whose jobs expire meanwhile, and the right to wake is free unless another node comes.
    """
    settled = [node for node, ms in started.items() if ms >= names.START_SETTLES_S * 1000]
    if not settled:
        return []
    try:
        with aws.answering():
            found = nodes.find(ec2, stack)
    except aws.Unavailable as error:
        log("starts not looked at", "ERROR", why=str(error))
        return []
    stopped = [node for node in found if node.id in settled and node.state == "stopped"]
    codes = [node.failure for node in stopped if node.failure]
    space = names.NAMESPACE_ROUTER
    if codes:
        emf.emit(space, stack, {names.METRIC_EC2_CAPACITY_ERRORS: len(codes)}, codes=codes)
    if stopped:
        ids = [node.id for node in stopped]
        log("nodes stopped again", "ERROR" if codes else "INFO", nodes=ids, codes=codes)
        failure = (codes[0], nodes.explain(codes[0])) if codes else None
        scripts.run(client, guarding.fell_back(ids, failure))
    return [node.id for node in stopped if node.failure]

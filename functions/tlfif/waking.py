"""Starting nodes once the queue has granted the right to: what the router does for a job and the guardian for the rest."""

import redis

from tlfif import emf, names, nodes, queue
from tlfif.log import log


def start(client: "redis.Redis", stack: str, token: str, wanted: int, ec2: Any) -> tuple[nodes.Outcome, str]:
    """Starts up to `wanted` nodes: what came of it, and EC2's error code or ''.

    The right to wake, held under `token`, is kept while a node comes and given back otherwise, so that the next can try.
    """
    outcome, started, code = nodes.wake(ec2, stack, wanted)
    metrics = {names.METRIC_EC2_STARTS: started, names.METRIC_EC2_CAPACITY_ERRORS: int(outcome is nodes.Outcome.NO_CAPACITY)}
    if any(metrics.values()):
        emf.emit(names.NAMESPACE_ROUTER, stack, {name: count for name, count in metrics.items() if count})
    log("wake", token=token, outcome=outcome.value, started=started, code=code)
    if outcome not in (nodes.Outcome.STARTED, nodes.Outcome.COMING):
        queue.run(client, queue.release_wake(token))
    return outcome, code

"""What a node says when it gives up: to jobs that expire for want of it, and in GET /status."""

from dataclasses import dataclass

from redis.exceptions import RedisError

from tlfif.log import log
from tlfif.queue import working
from worker.queue import Queue

_LOGS = "/var/log/tl-fif"


@dataclass(frozen=True)
class Kind:
    """A kind of obstacle: its code in answers, and where on the node to look."""

    code: str
    look_at: str


KINDS = {
    "engine": Kind("EngineNotReady", f"{_LOGS}/vllm.log"),
    "storage": Kind("StorageUnavailable", f"{_LOGS}/watcher.log"),
    "queue": Kind("QueueUnavailable", f"{_LOGS}/watcher.log"),
    "settings": Kind("SettingsUnusable", f"{_LOGS}/watcher.log"),
}


def kind_of(obstacle: str) -> str:
    """The kind that an obstacle's words name first, '' for no obstacle; the engine's if none."""
    if not obstacle:
        return ""
    return min((kind for kind in KINDS if kind in obstacle), key=obstacle.index, default="engine")


async def tell(queue: Queue, instance: str, boot: str, kind: str, why: str, after_s: float) -> None:
    """Leaves word in the queue, as long as it answers: nobody counts on this node any more."""
    told = KINDS[kind]
    message = (
        f"Node {instance} stopped itself after {after_s / 60:.1f} min without an answer: {why}. "
        f"Look at {told.look_at} on it."
    )
    log("gave_up", "ERROR", code=told.code, message=message)
    try:
        await queue.ask(working.give_up(instance, boot, told.code, message))
    except RedisError as error:
        log("give_up_failed", "WARNING", why=str(error))

"""What a node says when it gives up: to jobs that expire for want of it, and in GET /status."""

from dataclasses import dataclass

from redis.exceptions import RedisError

from tlfif.log import log
from tlfif.queue import working
from worker.queue import Queue

_LOGS = "/var/log/tl-fif"


@dataclass(frozen=True)
class Kind:
    """A kind of obstacle: its code in answers, what it is, and where on the node to look.

    An obstacle is told as "kind: why" (`worker.consumer`, `watcher.heartbeat`).
    """

    code: str
    what: str
    look_at: str


KINDS = {
    "engine": Kind("EngineNotReady", "its engine does not answer", f"{_LOGS}/vllm.log"),
    "storage": Kind("StorageUnavailable", "S3 does not answer", f"{_LOGS}/watcher.log"),
    "queue": Kind("QueueUnavailable", "the queue gives it no work", f"{_LOGS}/watcher.log"),
    "settings": Kind("SettingsUnusable", "it has no usable settings", f"{_LOGS}/watcher.log"),
}


async def tell(queue: Queue, instance: str, boot: str, kind: str, why: str, after_s: float) -> None:
    """Leaves word in the queue, as long as it answers: nobody counts on this node any more."""
    told = KINDS[kind]
    message = (
        f"Node {instance} stopped itself after {after_s / 60:.1f} min: {told.what} ({why}). "
        f"Look at {told.look_at} on it."
    )
    await say(queue, instance, boot, told.code, message)


async def say(queue: Queue, instance: str, boot: str, code: str, message: str) -> None:
    """The same in other words."""
    log("gave_up", "ERROR", code=code, message=message)
    try:
        await queue.ask(working.give_up(instance, boot, code, message))
    except RedisError as error:
        log("give_up_failed", "WARNING", why=str(error))

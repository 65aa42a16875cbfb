"""What CloudWatch hears each minute: what alarms ring for and the dashboard shows."""

import redis

from tlfif import emf, names
from tlfif.log import log
from tlfif.queue import scripts, watching
from tlfif.queue.watching import News


def tell(client: "redis.Redis", stack: str) -> None:
    """Emits it all in one line. Raises redis.RedisError."""
    news = scripts.run(client, watching.news())
    emf.emit(names.NAMESPACE_QUEUE, stack, metrics(news))
    if news.boot:
        log("boot", steps=news.boot)


def metrics(news: News) -> dict[str, float]:
    """The depth and the oldest job always, the rest when there is something: what is never emitted
    costs nothing, and a widget draws no data as none.
    """
    counts = news.counts
    happened = {
        names.METRIC_NODES_READY: news.ready,
        names.METRIC_NODES_COMING: news.coming,
        names.METRIC_JOBS_DONE: counts.get("done", 0),
        names.METRIC_JOBS_FAILED: counts.get("failed", 0),
        names.METRIC_JOBS_EXPIRED: counts.get("expired", 0),
        names.METRIC_JOBS_CANCELLED: counts.get("cancelled", 0),
        names.METRIC_DEAD_LETTERS: counts.get("dead", 0),
        names.METRIC_FAILED_BOOTS: counts.get("failed_boots", 0),
    }
    return {
        names.METRIC_QUEUE_DEPTH: news.depth,
        names.METRIC_OLDEST_JOB_S: round(news.oldest_s, 1),
        **{name: count for name, count in happened.items() if count},
        **_boot(news.boot),
        **_money(news.money),
    }


def _boot(steps: dict[str, float]) -> dict[str, float]:
    """Its two parts; none of a boot that lacks a step."""
    try:
        machine_ms = steps["booting"] - steps["started"]
        engine_ms = steps["ready"] - steps["booting"]
    except KeyError:
        return {}
    return {
        names.METRIC_BOOT_MACHINE_S: round(machine_ms / 1000, 1),
        names.METRIC_BOOT_ENGINE_S: round(engine_ms / 1000, 1),
    }


def _money(money: dict[str, float]) -> dict[str, float]:
    left = money.get("gpu_hours_left")
    return {} if left is None else {names.METRIC_GPU_HOURS_LEFT: round(left, 2)}

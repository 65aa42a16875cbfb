"""A watcher's first steps: who it is and what it is told; without these its machine rests."""

import asyncio
import os
import secrets
import time
from collections.abc import Callable
from typing import TypeVar

from redis.asyncio import Redis

from tlfif.log import log
from tlfif.queue import working
from watcher import giving_up, instance, machine
from watcher import settings as settings_module
from watcher.instance import Instance, InstanceError
from watcher.settings import Settings, SettingsError
from watcher.supervisor import Supervisor, SupervisorError
from worker.queue import Queue

T = TypeVar("T")

# How long, and how often, a node asks who it is and what it is told before it rests instead. The
# network may come late, and `pulumi up` may be about to mend it.
PATIENCE_S, EVERY_S = 120.0, 5.0


def settings() -> Settings | None:
    """What this node is told, as soon as it can be had.

    When it cannot be had, the machine stops: a node that cannot work must not cost money. None
    when that fails too.
    """
    try:
        this = _patiently(lambda: instance.ask(os.environ), InstanceError)
    except InstanceError:
        _power_off()
        return None
    try:
        return _patiently(lambda: settings_module.load(this, os.environ), SettingsError)
    except SettingsError as error:
        asyncio.run(_give_up(this, error))
        return None


def _patiently(ask: Callable[[], T], refusal: type[Exception]) -> T:
    """Asks again and again; raises the last `refusal`."""
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except refusal as error:
            log("not_told", "ERROR", why=str(error))
            if time.monotonic() >= give_up:
                raise
        time.sleep(EVERY_S)


def _power_off() -> None:
    """What a machine can do that does not even know its name."""
    try:
        Supervisor(os.environ).power_off()
        log("power_off", "ERROR", why="no metadata")
        time.sleep(machine.STOPPING_S)
    except SupervisorError as error:
        log("power_off_failed", "ERROR", why=str(error))


async def _give_up(this: Instance, error: SettingsError) -> None:
    log("resting", reason="settings")
    if error.queue is not None:
        boot, (host, port) = secrets.token_hex(4), error.queue
        async with Redis(host=host, port=port, protocol=2, socket_timeout=5.0) as client:
            queue = Queue(client, working.consumer_name(this.id, boot))
            await giving_up.tell(queue, this.id, boot, "settings", str(error), PATIENCE_S)
    patience_s = machine.STOP_PATIENCE_S
    await machine.rest(this.region, this.id, this.stack, Supervisor(os.environ), patience_s)

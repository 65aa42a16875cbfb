"""This machine's own end: StopInstances on itself or, refused, a power-off; counted as a metric."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from tlfif import aws, names
from tlfif.log import log
from watcher.supervisor import Supervisor, SupervisorError
from worker.backoff import Backoff

# For how long EC2 is asked again that refuses, or does not answer.
STOP_PATIENCE_S = 60.0
# How long a machine may take to shut down before this process concludes that it goes on.
STOPPING_S = 180.0


class StopFailedError(Exception):
    """EC2 did not take the request; the machine goes on costing money."""


async def rest(
    region: str,
    instance_id: str,
    stack: str,
    supervisor: Supervisor,
    patience_s: float,
) -> None:
    """Stops this machine, for which this process is ended; returns only if that failed.

    EC2 is asked first, because its answer says that the machine goes down whatever runs on it. The
    machine can do it without: the instance's shutdown behaviour makes a power-off a stop.
    """

    async def in_thread(function: Callable[..., None], *args: Any) -> None:
        # A thread ends what it has begun, even when this process is told to stop meanwhile.
        await asyncio.to_thread(function, *args)

    backoff, give_up = Backoff(first_s=1.0), time.monotonic() + patience_s
    stopped = False
    while not stopped and time.monotonic() < give_up:
        try:
            await in_thread(stop, region, instance_id, stack)
            stopped = True
            await asyncio.sleep(STOPPING_S)
        except StopFailedError as error:
            log("stop_failed", "ERROR", why=str(error))
            await backoff.pause()
    log("power_off", "ERROR", why="it goes on" if stopped else "EC2 does not stop it")
    if not stopped:
        await in_thread(count_stop, region, stack)
    try:
        await in_thread(supervisor.power_off)
        await asyncio.sleep(STOPPING_S)
    except SupervisorError as error:
        log("power_off_failed", "ERROR", why=str(error))


def warm_up(region: str) -> None:
    """Has boto3 read what it knows of these APIs, a tenth of a second, before a stop waits for it.

    The clients are not kept: one that has missed its credentials would do so for good.
    """
    for service in ("ec2", "cloudwatch"):
        _client(service, region)


def stop(region: str, instance_id: str, stack: str) -> None:
    """Asks EC2 to stop this instance, and counts that; raises StopFailedError.

    In one go: its SIGTERM may come before EC2's answer.
    """
    try:
        _client("ec2", region).stop_instances(InstanceIds=[instance_id])
    except aws.errors() as error:
        raise StopFailedError(str(error)) from error
    count_stop(region, stack)


def count_stop(region: str, stack: str) -> None:
    """Adds 1 to AutoStops; the machine is going down already, so a failure is only logged."""
    metric = {
        "MetricName": names.METRIC_AUTO_STOPS,
        "Dimensions": [{"Name": "Stack", "Value": stack}],
        "Timestamp": datetime.now(timezone.utc),
        "Value": 1,
        "Unit": "Count",
    }
    try:
        _client("cloudwatch", region).put_metric_data(
            Namespace=names.NAMESPACE_GPU, MetricData=[metric]
        )
    except aws.errors() as error:
        log("metric_lost", "WARNING", metric=names.METRIC_AUTO_STOPS, why=str(error))


def _client(service: str, region: str) -> Any:
    return aws.client(service, region, connect_s=3, read_s=10, tries=3)

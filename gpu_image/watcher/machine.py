"""This machine's own end: StopInstances on itself, counted as a metric."""

from datetime import datetime, timezone
from typing import Any

from tlfif import aws, names
from tlfif.log import log


class StopFailedError(Exception):
    """EC2 did not take the request; the machine goes on costing money."""


def stop(region: str, instance_id: str, stack: str) -> None:
    """Asks EC2 to stop this instance, and counts that; raises StopFailedError.

    In one go: its SIGTERM may come before EC2's answer.
    """
    try:
        _client("ec2", region).stop_instances(InstanceIds=[instance_id])
    except aws.errors() as error:
        raise StopFailedError(str(error)) from error
    _count_stop(region, stack)


def _count_stop(region: str, stack: str) -> None:
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

"""Every minute: what the stack has used by the platform's own counters, and the API's throttle.

Outside the VPC: CloudWatch and API Gateway have no dual-stack hosts.
"""

import math
import os
import time
from functools import cache
from typing import Any, NamedTuple

from meter import metering, reading
from tlfif import aws
from tlfif.environment import Meter
from tlfif.log import log
from tlfif.money import counting, throttling
from tlfif.money.deciding import Degree
from tlfif.money.documents import Billed, Ledger, Metered, Tariff
from tlfif.money.throttling import Known

AWS_TIMEOUT_S = 3.0


class Clients(NamedTuple):
    """AWS's APIs."""

    cloudwatch: Any
    s3: Any
    apigateway: Any


class Memory:
    """What this execution environment remembers from run to run, so that it need not be read."""

    def __init__(self) -> None:
        self.stored: Metered | None = None
        self.metered: Metered | None = None
        self.tariff: Tariff | None = None
        self.billed: Billed | None = None
        self.read_at = 0.0
        self.closed = False

    def read(self, s3: Any, bucket: str, now: float) -> None:
        """Reads what others write rarely; each time while the stage is closed."""
        if self.tariff is None or self.closed or now - self.read_at >= metering.SLOW_S:
            self.tariff = Tariff.load(s3, bucket)
            self.billed = Billed.load(s3, bucket)
            self.read_at = now

    def begin(self, s3: Any, bucket: str, now: float) -> Metered:
        """What is known of this month."""
        if self.metered is None:
            self.stored = self.metered = Metered.load(s3, bucket)
        return metering.begun(self.metered, now)

    def end(self, s3: Any, bucket: str, new: Metered, left_usd: float) -> None:
        """Stores what is worth it, when the cap leaves so much."""
        if metering.worth_telling(self.stored, new, self.tariff, left_usd):
            new.save(s3, bucket)
            self.stored = new

    def known(self, ledger: Ledger | None, new: Metered) -> Known | None:
        """All that is known, with what was metered now; None as long as there is no tariff."""
        self.metered = new
        if self.tariff is None:
            return None
        return Known(tariff=self.tariff, ledger=ledger, metered=new, billed=self.billed)


class Incomplete(Exception):
    """Some counters could not be read; the others were."""


@cache
def clients() -> Clients:
    """Made once per execution environment."""
    region, limit = os.environ["AWS_REGION"], AWS_TIMEOUT_S
    cloudwatch, s3, apigateway = (
        aws.client(service, region, connect_s=limit, read_s=limit, tries=2)
        for service in ("cloudwatch", "s3", "apigateway")
    )
    return Clients(cloudwatch, s3, apigateway)


@cache
def memory() -> Memory:
    """Of this execution environment; the meter alone writes its document."""
    return Memory()


def handler(event: object, context: object) -> None:
    """The Lambda entry point; raises what kept a figure back, once all the others are stored."""
    run(Meter.read(), clients(), memory(), time.time())


def run(told: Meter, clients: Clients, memory: Memory, now: float) -> Metered:
    """One run. Raises aws.Unavailable where a document, or the stage, could not be read or written;
    Incomplete where a counter could not.
    """
    functions = counting.unpack(told.functions)
    counters = reading.counters(
        functions=functions,
        log_groups=told.log_groups.split(","),
        api_name=told.api_name,
        stage=told.stage,
        bucket=told.replies_bucket,
    )
    bucket = told.replies_bucket
    last = memory.begin(clients.s3, bucket, now)
    memory.read(clients.s3, bucket, now)
    ledger = Ledger.load(clients.s3, bucket)
    read = reading.read(clients.cloudwatch, metering.due(counters, last, now), now)
    node_s = ledger.node_s if ledger and ledger.month == last.month else 0.0
    new = metering.metered(last, read, counters, functions, node_s, now)
    known = memory.known(ledger, new)
    memory.end(clients.s3, bucket, new, throttling.left_usd(known, now) if known else math.inf)
    if known:
        memory.closed = _throttle(told, clients, known, now)
    else:
        log("no tariff yet", why="the program writes it last; nothing is closed")
    if read.failed:
        raise Incomplete(f"not told: {read.failed}")
    return new


def _throttle(told: Meter, clients: Clients, known: Known, now: float) -> bool:
    """Closes the stage, or opens it, as the degree says; whether it is closed."""
    degree = throttling.degree(known, now)
    rates = throttling.wanted(degree, known, now)
    if changed := throttling.apply(clients.apigateway, told.api_id, told.stage, rates):
        level = "WARN" if degree is Degree.TRICKLE else "INFO"
        log("stage throttled", level, degree=degree.value, paths=changed, rates=rates)
    return degree is Degree.TRICKLE

"""Every 15 minutes: what the month has cost, as the metric CurrentSpendEUR (OPS-002)."""

import os
import time
from functools import cache

from cost_publisher.publishing import Clients, publish
from tlfif import aws
from tlfif.environment import CostPublisher

CONNECT_S = 0.3
# Asked each time, Cost Explorer is given what the function has, and takes longer than all others.
# Asked once a day its answer is no more than a second opinion, and not waited for.
EXPLORER_S = 2.0
# Where Budgets and Cost Explorer are, whatever the stack's region.
GLOBAL_REGION = "us-east-1"


@cache
def services() -> tuple[CostPublisher, Clients]:
    """Made once per execution environment: what it is told, and whom it asks."""
    told = CostPublisher.read()
    read_s = told.patience_s
    # It is seldom as quick as the others, and costs a cent, answered or not; once in 96 calls.
    explorer_s = max(EXPLORER_S, read_s)
    return told, Clients(
        # A document that cannot be read fails the call, so it is asked for twice.
        s3=aws.client("s3", connect_s=CONNECT_S, read_s=read_s, tries=2),
        ec2=aws.client("ec2", connect_s=CONNECT_S, read_s=read_s),
        budgets=aws.client("budgets", GLOBAL_REGION, connect_s=CONNECT_S, read_s=read_s),
        ce=aws.client("ce", GLOBAL_REGION, connect_s=CONNECT_S, read_s=explorer_s),
        apigateway=aws.client("apigateway", connect_s=CONNECT_S, read_s=read_s),
        sns=aws.client("sns", connect_s=CONNECT_S, read_s=read_s),
    )


def handler(event: object, context: object) -> None:
    """The Lambda entry point."""
    publish(*services(), time.time())


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    # Most calls find no environment that is warm: what Lambda does before the first one it does
    # with a whole processor, and does not count as the call's duration.
    services()

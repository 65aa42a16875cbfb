"""Every 15 minutes: what the month has cost, as the metric CurrentSpendEUR (OPS-002)."""

import os
import time
from functools import cache

from cost_publisher.publishing import Clients, publish
from tlfif import aws
from tlfif.environment import CostPublisher

# All are asked at once, then one document is stored: 1 s together, if each needs its longest.
CONNECT_S, READ_S = 0.2, 0.5
# Cost Explorer may take longer than all others. Asked each time it is given what the function has;
# asked once a day its answer is no more than a second opinion, and not waited for.
PATIENCE_S = {"costExplorer": 2.0, "ledger": READ_S}
# Where Budgets and Cost Explorer are, whatever the stack's region.
GLOBAL_REGION = "us-east-1"


@cache
def services() -> tuple[CostPublisher, Clients]:
    """Made once per execution environment: what it is told, and whom it asks."""
    told = CostPublisher.read()
    patience_s = PATIENCE_S[told.cost_source]
    return told, Clients(
        s3=aws.client("s3", connect_s=CONNECT_S, read_s=READ_S),
        ec2=aws.client("ec2", connect_s=CONNECT_S, read_s=READ_S),
        budgets=aws.client("budgets", GLOBAL_REGION, connect_s=CONNECT_S, read_s=READ_S),
        ce=aws.client("ce", GLOBAL_REGION, connect_s=CONNECT_S, read_s=patience_s),
        sns=aws.client("sns", connect_s=CONNECT_S, read_s=READ_S),
    )


def handler(event: object, context: object) -> None:
    """The Lambda entry point."""
    publish(*services(), time.time())


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    # Most calls find no environment that is warm: what Lambda does before the first one it does
    # with a whole processor, and does not count as the call's duration.
    services()

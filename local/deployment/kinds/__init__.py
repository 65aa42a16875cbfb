"""The life of the program's resources in moto: each kind is made, changed in place, read and
removed by a function of its own.

botocore checks what it is given, so a property without a counterpart in AWS's API is an error and
not ignored.
"""

from local.deployment.kinds import (
    cognito,
    delivery,
    iam,
    instances,
    lambda_,
    messages,
    monitoring,
    network,
    routes,
    s3,
    security_groups,
    ssm,
)
from local.deployment.kinds.maker import CHANGERS, MAKERS, READERS, REMOVERS

__all__ = [
    "CHANGERS",
    "MAKERS",
    "READERS",
    "REMOVERS",
    "cognito",
    "delivery",
    "iam",
    "instances",
    "lambda_",
    "messages",
    "monitoring",
    "network",
    "routes",
    "s3",
    "security_groups",
    "ssm",
]

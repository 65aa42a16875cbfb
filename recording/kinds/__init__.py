"""The AWS resource types of the program, one table: a new type is one entry in its service's file.

What a type costs is in components/billed.py; its life in moto, in local/deployment/kinds/.
"""

from recording.kinds import (
    apigateway,
    cognito,
    delivery,
    ec2,
    elasticache,
    iam,
    imagebuilder,
    lambda_,
    lb,
    monitoring,
    s3,
    ssm,
)
from recording.kinds.kind import Kind

SERVICES = (
    apigateway,
    cognito,
    delivery,
    ec2,
    elasticache,
    iam,
    imagebuilder,
    lambda_,
    lb,
    monitoring,
    s3,
    ssm,
)

KINDS: dict[str, Kind] = {
    each.token: each
    for service in SERVICES
    for each in vars(service).values()
    if isinstance(each, Kind)
}


def kind_of(token: str) -> Kind:
    """The kind of a type; one without particulars for a type that is in no table."""
    return KINDS.get(token) or Kind(token=token)

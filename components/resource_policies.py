"""Resource policies as plain data: who may use a bucket, an API or a topic, whatever roles say."""

from collections.abc import Sequence

import pulumi

from components.iam import Statement, Text


def tls_only(bucket_arn: Text) -> Statement:
    """A bucket's: nobody, over a connection in clear."""
    return {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket_arn, pulumi.Output.concat(bucket_arn, "/*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


# In the body of an API, whose ARN is not known before there is one, `execute-api:/` is itself.
_EVERY_ROUTE = "execute-api:/*"


def vpc_only_routes(paths: Sequence[str], cidrs: Sequence[str]) -> tuple[Statement, Statement]:
    """An API's resource policy: everybody may call, but `paths` only from `cidrs`; evaluated before
    the authorizer.

    `/*` as well: should the gateway take `/ping/` for `/ping`, the slash is no way round the fence.
    """
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "execute-api:Invoke"}
    fence = {"Effect": "Deny", "Principal": "*", "Action": "execute-api:Invoke"}
    return (
        {"Sid": "Callers", **everybody, "Resource": _EVERY_ROUTE},
        {
            "Sid": "VpcOnlyRoutes",
            **fence,
            "Resource": [f"{_EVERY_ROUTE}/*{path}{rest}" for path in paths for rest in ("", "/*")],
            "Condition": {"NotIpAddress": {"aws:SourceIp": list(cidrs)}},
        },
    )


def private_routes(endpoint_id: str, cidr: str) -> tuple[Statement, ...]:
    """A private API's resource policy: through this endpoint, and from addresses in `cidr` only."""
    everybody = {"Principal": "*", "Action": "execute-api:Invoke", "Resource": _EVERY_ROUTE}
    elsewhere = {"StringNotEquals": {"aws:SourceVpce": endpoint_id}}
    return (
        {"Sid": "Callers", "Effect": "Allow", **everybody},
        {"Sid": "OtherEndpoints", "Effect": "Deny", **everybody, "Condition": elsewhere},
        {
            "Sid": "OtherAddresses",
            "Effect": "Deny",
            **everybody,
            "Condition": {"NotIpAddress": {"aws:VpcSourceIp": cidr}},
        },
    )


def publish_events(topic_arn: Text) -> Statement:
    """A topic policy: EventBridge's rules may publish. Without a condition: EventBridge brings none
    of the keys that one could ask for, and what asks for them is never delivered.
    """
    return {
        "Sid": "PublishEvents",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic_arn,
    }


def publish_from(service: str, topic_arn: Text, account_id: str) -> Statement:
    """A topic policy: one AWS service, acting for this account, may publish."""
    return {
        "Sid": f"Publish{service.partition('.')[0].capitalize()}",
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sns:Publish",
        "Resource": topic_arn,
        "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
    }

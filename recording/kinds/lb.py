"""The load balancer in front of the nodes and its certificate (gpu:tlsIngress).

Nobody here connects to the nodes from outside, and moto has no TLS to offer.
"""

from recording.kinds.kind import Kind

# Elastic Load Balancing's reference: letters, digits and hyphens, none of these at either end.
_ALPHANUMERIC = r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"

_ARN = "arn:aws:elasticloadbalancing:{region}:{account}"
_NO_CLIENTS = "a node's port 443 has no clients here"
_VALIDATION_RECORD = {
    "resourceRecordName": "_{hex:.32}.{domainName}.",
    "resourceRecordType": "CNAME",
    "resourceRecordValue": "_{hex:.32}.acm-validations.aws.",
}

LOAD_BALANCER = Kind(
    token="aws:lb/loadBalancer:LoadBalancer",
    name_limit=32,
    name_pattern=r"(?!internal-)" + _ALPHANUMERIC,
    shape={
        "id": "{arn}",
        "arn": _ARN + ":loadbalancer/net/{name}/{hex:.16}",
        "dnsName": "{name}-{hex:.16}.elb.{region}.amazonaws.com",
    },
    inert=_NO_CLIENTS,
    terraform="aws_lb",
    replaced_by=frozenset({"internal", "loadBalancerType", "name", "subnets"}),
)
LISTENER = Kind(
    token="aws:lb/listener:Listener",
    shape={"id": "{arn}", "arn": _ARN + ":listener/net/{hex:.32}"},
    inert=_NO_CLIENTS,
    replaced_by=frozenset({"loadBalancerArn"}),
)
TARGET_GROUP = Kind(
    token="aws:lb/targetGroup:TargetGroup",
    name_limit=32,
    name_pattern=_ALPHANUMERIC,
    shape={"id": "{arn}", "arn": _ARN + ":targetgroup/{name}/{hex:.16}"},
    inert=_NO_CLIENTS,
    replaced_by=frozenset({"name", "port", "protocol", "targetType", "vpcId"}),
)
TARGET_GROUP_ATTACHMENT = Kind(
    token="aws:lb/targetGroupAttachment:TargetGroupAttachment",
    inert=_NO_CLIENTS,
    replaced_by=frozenset({"targetGroupArn", "targetId"}),
)
CERTIFICATE = Kind(
    token="aws:acm/certificate:Certificate",
    shape={
        "id": "{arn}",
        "arn": "arn:aws:acm:{region}:{account}:certificate/{hex:.32}",
        "domainValidationOptions": [_VALIDATION_RECORD],
    },
    inert="no connection here is made under the certificate's name",
    computed_on=frozenset({"domainValidationOptions"}),
    replaced_by=frozenset({"domainName", "validationMethod"}),
)
CERTIFICATE_VALIDATION = Kind(
    token="aws:acm/certificateValidation:CertificateValidation",
    shape={"id": "{hex:.32}"},
    inert="nobody validates a certificate here",
    replaced_by=frozenset({"certificateArn"}),
)

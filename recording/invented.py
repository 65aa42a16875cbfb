"""What AWS would add to each resource, invented: ids, ARNs and endpoints that are the same in every run."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.runtime import MockCallArgs, MockResourceArgs

from recording.model import ACCOUNT_ID, AMI_ID
from tlfif.names import AMI_PARAMETER

# What AWS would add to a resource of each type, by the provider's property names. Everything else
# echoes its inputs.
_EC2 = "arn:aws:ec2:{region}:{account}"
_LB = "arn:aws:elasticloadbalancing:{region}:{account}"
_RECORD = {
    "Name": "_{hex:.32}.{domainName}.",
    "Type": "CNAME",
    "Value": "_{hex:.32}.acm-validations.aws.",
}
_SHAPES: dict[str, dict[str, Any]] = {
    "aws:acm/certificate:Certificate": {
        "id": "{arn}",
        "arn": "arn:aws:acm:{region}:{account}:certificate/{hex:.32}",
        "domainValidationOptions": [
            {f"resourceRecord{part}": text for part, text in _RECORD.items()}
        ],
    },
    "aws:acm/certificateValidation:CertificateValidation": {"id": "{hex:.32}"},
    "aws:apigateway/restApi:RestApi": {
        "id": "{hex:.10}",
        "arn": "arn:aws:apigateway:{region}::/restapis/{id}",
        "executionArn": "arn:aws:execute-api:{region}:{account}:{id}",
        "rootResourceId": "{hex:.9}r",
    },
    "aws:apigateway/deployment:Deployment": {"id": "{hex:.6}"},
    "aws:apigateway/stage:Stage": {
        "id": "ags-{restApi}-{stageName}",
        "arn": "arn:aws:apigateway:{region}::/restapis/{restApi}/stages/{stageName}",
        "invokeUrl": "https://{restApi}.execute-api.{region}.amazonaws.com/{stageName}",
        "executionArn": "arn:aws:execute-api:{region}:{account}:{restApi}/{stageName}",
    },
    "aws:cloudwatch/eventRule:EventRule": {
        "id": "{name}",
        "arn": "arn:aws:events:{region}:{account}:rule/{name}",
    },
    "aws:cloudwatch/logGroup:LogGroup": {
        "id": "{name}",
        "arn": "arn:aws:logs:{region}:{account}:log-group:{name}",
    },
    "aws:cognito/userPool:UserPool": {
        "id": "{region}_{hex:.9}",
        "arn": "arn:aws:cognito-idp:{region}:{account}:userpool/{id}",
    },
    "aws:cognito/userPoolClient:UserPoolClient": {"id": "{hex:.26}"},
    "aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway": {"id": "eigw-{hex:.17}"},
    "aws:ec2/instance:Instance": {
        "id": "i-{hex:.17}",
        "arn": _EC2 + ":instance/{id}",
        "privateIp": "10.20.2.10",
    },
    "aws:ec2/internetGateway:InternetGateway": {
        "id": "igw-{hex:.17}",
        "arn": _EC2 + ":internet-gateway/{id}",
    },
    "aws:ec2/route:Route": {"id": "r-{hex:.17}"},
    "aws:ec2/routeTable:RouteTable": {"id": "rtb-{hex:.17}", "arn": _EC2 + ":route-table/{id}"},
    "aws:ec2/routeTableAssociation:RouteTableAssociation": {"id": "rtbassoc-{hex:.17}"},
    "aws:ec2/securityGroup:SecurityGroup": {
        "id": "sg-{hex:.17}",
        "arn": _EC2 + ":security-group/{id}",
    },
    "aws:ec2/subnet:Subnet": {"id": "subnet-{hex:.17}", "arn": _EC2 + ":subnet/{id}"},
    "aws:ec2/vpc:Vpc": {
        "id": "vpc-{hex:.17}",
        "arn": _EC2 + ":vpc/{id}",
        "ipv6CidrBlock": "2600:1f18:{hex:.4}:aa00::/56",
    },
    "aws:ec2/vpcEndpoint:VpcEndpoint": {
        "id": "vpce-{hex:.17}",
        "arn": _EC2 + ":vpc-endpoint/{id}",
        "prefixListId": "pl-{hex:.8}",
    },
    "aws:elasticache/replicationGroup:ReplicationGroup": {
        "id": "{name}",
        "arn": "arn:aws:elasticache:{region}:{account}:replicationgroup:{name}",
        "primaryEndpointAddress": "{name}.{hex:.6}.ng.0001.use1.cache.amazonaws.com",
    },
    "aws:iam/instanceProfile:InstanceProfile": {
        "id": "{name}",
        "arn": "arn:aws:iam::{account}:instance-profile/{name}",
    },
    "aws:iam/role:Role": {"id": "{name}", "arn": "arn:aws:iam::{account}:role/{name}"},
    "aws:lambda/alias:Alias": {
        "id": "{arn}",
        "arn": "arn:aws:lambda:{region}:{account}:function:{functionName}:{name}",
        "invokeArn": "arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations",
    },
    "aws:lambda/function:Function": {
        "id": "{name}",
        "arn": "arn:aws:lambda:{region}:{account}:function:{name}",
        "version": "1",
        "invokeArn": "arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations",
    },
    "aws:lb/listener:Listener": {"id": "{arn}", "arn": _LB + ":listener/net/{hex:.32}"},
    "aws:lb/loadBalancer:LoadBalancer": {
        "id": "{arn}",
        "arn": _LB + ":loadbalancer/net/{name}/{hex:.16}",
        "dnsName": "{name}-{hex:.16}.elb.{region}.amazonaws.com",
    },
    "aws:lb/targetGroup:TargetGroup": {"id": "{arn}", "arn": _LB + ":targetgroup/{name}/{hex:.16}"},
    "aws:s3/bucket:Bucket": {"id": "{name}", "bucket": "{name}", "arn": "arn:aws:s3:::{name}"},
    "aws:sns/topic:Topic": {"id": "{arn}", "arn": "arn:aws:sns:{region}:{account}:{name}"},
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": {"id": "sgr-{hex:.17}"},
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": {"id": "sgr-{hex:.17}"},
}


def _filled(shape: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(shape, list):
        return [_filled(item, known) for item in shape]
    if isinstance(shape, dict):
        return {key: _filled(item, known) for key, item in shape.items()}
    return shape.format(**known)


class RecordingBackend:
    """Makes nothing: invents ids, ARNs and endpoints that look like AWS's and are the same in every
    run.

    `parameters` is what the SSM parameter store holds; by default an image was baked.
    """

    def __init__(
        self, stack: str, region: str, *, parameters: Mapping[str, str] | None = None
    ) -> None:
        self._stack, self._region = stack, region
        baked = {AMI_PARAMETER: AMI_ID, f"{AMI_PARAMETER}-{stack}": AMI_ID}
        self._parameters = baked if parameters is None else parameters

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if not args.custom:
            return None, {}
        known = self._known(args)
        shape = _SHAPES.get(args.typ, {"id": "{name}"})
        made: dict[str, Any] = {}
        # An id may be made of an ARN, or an ARN of an id.
        for key in sorted(shape, key=lambda key: "{id}" in shape[key] or "{arn}" in shape[key]):
            made[key] = _filled(shape[key], {**known, **made})
        return made["id"], {**args.inputs, "name": known["name"], **made}

    def _known(self, args: MockResourceArgs) -> dict[str, Any]:
        digest = hashlib.sha256(f"{self._stack}/{args.typ}/{args.name}".encode()).hexdigest()
        name = (
            args.inputs.get("name")
            or f"{pulumi.get_project()}-{self._stack}-{args.name}-{digest[:7]}"
        )
        return {
            **args.inputs,
            "name": name,
            "hex": digest,
            "region": self._region,
            "account": ACCOUNT_ID,
        }

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        match args.token:
            case "aws:index/getCallerIdentity:getCallerIdentity":
                return {
                    "accountId": ACCOUNT_ID,
                    "arn": f"arn:aws:iam::{ACCOUNT_ID}:root",
                    "userId": ACCOUNT_ID,
                }
            case "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings":
                return {"locations": [f"{self._region}b", f"{self._region}a"]}
            case "aws:ssm/getParametersByPath:getParametersByPath":
                found = {
                    k: v
                    for k, v in self._parameters.items()
                    if k.startswith(f"{args.args['path']}/")
                }
                return {"names": list(found), "values": list(found.values())}
        raise LookupError(
            f"the program asks AWS {args.token} with {args.args}, to which there is no recorded answer"
        )

"""The network and its machines (Pulumi keeps the rules of security groups in `aws:vpc`)."""

from recording.kinds.kind import Kind

_ARN = "arn:aws:ec2:{region}:{account}"

VPC = Kind(
    token="aws:ec2/vpc:Vpc",
    shape={
        "id": "vpc-{hex:.17}",
        "arn": _ARN + ":vpc/{id}",
        "ipv6CidrBlock": "2600:1f18:{hex:.4}:aa00::/56",
    },
    computed_on=frozenset({"ipv6CidrBlock"}),
)
SUBNET = Kind(
    token="aws:ec2/subnet:Subnet",
    shape={"id": "subnet-{hex:.17}", "arn": _ARN + ":subnet/{id}"},
)
INTERNET_GATEWAY = Kind(
    token="aws:ec2/internetGateway:InternetGateway",
    shape={"id": "igw-{hex:.17}", "arn": _ARN + ":internet-gateway/{id}"},
)
EGRESS_ONLY_INTERNET_GATEWAY = Kind(
    token="aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway",
    shape={"id": "eigw-{hex:.17}"},
)
ROUTE_TABLE = Kind(
    token="aws:ec2/routeTable:RouteTable",
    shape={"id": "rtb-{hex:.17}", "arn": _ARN + ":route-table/{id}"},
)
ROUTE_TABLE_ASSOCIATION = Kind(
    token="aws:ec2/routeTableAssociation:RouteTableAssociation",
    shape={"id": "rtbassoc-{hex:.17}"},
)
ROUTE = Kind(token="aws:ec2/route:Route", shape={"id": "r-{hex:.17}"})
SECURITY_GROUP = Kind(
    token="aws:ec2/securityGroup:SecurityGroup",
    shape={"id": "sg-{hex:.17}", "arn": _ARN + ":security-group/{id}"},
)
INGRESS_RULE = Kind(
    token="aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    shape={"id": "sgr-{hex:.17}"},
)
EGRESS_RULE = Kind(
    token="aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
    shape={"id": "sgr-{hex:.17}"},
)
VPC_ENDPOINT = Kind(
    token="aws:ec2/vpcEndpoint:VpcEndpoint",
    shape={
        "id": "vpce-{hex:.17}",
        "arn": _ARN + ":vpc-endpoint/{id}",
        "prefixListId": "pl-{hex:.8}",
    },
)
INSTANCE = Kind(
    token="aws:ec2/instance:Instance",
    shape={"id": "i-{hex:.17}", "arn": _ARN + ":instance/{id}", "privateIp": "10.20.2.10"},
)

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
    replaced_by=frozenset({"cidrBlock"}),
)
SUBNET = Kind(
    token="aws:ec2/subnet:Subnet",
    shape={"id": "subnet-{hex:.17}", "arn": _ARN + ":subnet/{id}"},
    replaced_by=frozenset({"availabilityZone", "cidrBlock", "vpcId"}),
)
INTERNET_GATEWAY = Kind(
    token="aws:ec2/internetGateway:InternetGateway",
    shape={"id": "igw-{hex:.17}", "arn": _ARN + ":internet-gateway/{id}"},
)
EGRESS_ONLY_INTERNET_GATEWAY = Kind(
    token="aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway",
    shape={"id": "eigw-{hex:.17}"},
    replaced_by=frozenset({"vpcId"}),
)
ROUTE_TABLE = Kind(
    token="aws:ec2/routeTable:RouteTable",
    shape={"id": "rtb-{hex:.17}", "arn": _ARN + ":route-table/{id}"},
    replaced_by=frozenset({"vpcId"}),
)
ROUTE_TABLE_ASSOCIATION = Kind(
    token="aws:ec2/routeTableAssociation:RouteTableAssociation",
    shape={"id": "rtbassoc-{hex:.17}"},
    replaced_by=frozenset({"subnetId"}),
)
ROUTE = Kind(
    token="aws:ec2/route:Route",
    shape={"id": "r-{hex:.17}"},
    replaced_by=frozenset({"destinationCidrBlock", "destinationIpv6CidrBlock", "routeTableId"}),
)
SECURITY_GROUP = Kind(
    token="aws:ec2/securityGroup:SecurityGroup",
    name_limit=255,
    name_pattern=r"(?!sg-)[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]+",
    shape={"id": "sg-{hex:.17}", "arn": _ARN + ":security-group/{id}"},
    replaced_by=frozenset({"description", "name", "vpcId"}),
)
# The group that EC2 makes with a VPC: taken over by whoever declares it, and gone with the VPC.
DEFAULT_SECURITY_GROUP = Kind(
    token="aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
    shape={"id": "sg-{hex:.17}", "arn": _ARN + ":security-group/{id}"},
    replaced_by=frozenset({"vpcId"}),
)
INGRESS_RULE = Kind(
    token="aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
    shape={"id": "sgr-{hex:.17}"},
    replaced_by=frozenset({"securityGroupId"}),
)
EGRESS_RULE = Kind(
    token="aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
    shape={"id": "sgr-{hex:.17}"},
    replaced_by=frozenset({"securityGroupId"}),
)
VPC_ENDPOINT = Kind(
    token="aws:ec2/vpcEndpoint:VpcEndpoint",
    shape={
        "id": "vpce-{hex:.17}",
        "arn": _ARN + ":vpc-endpoint/{id}",
        "prefixListId": "pl-{hex:.8}",
    },
    replaced_by=frozenset({"serviceName", "vpcEndpointType", "vpcId"}),
)
INSTANCE = Kind(
    token="aws:ec2/instance:Instance",
    shape={"id": "i-{hex:.17}", "arn": _ARN + ":instance/{id}", "privateIp": "10.20.2.10"},
    replaced_by=frozenset(
        {"ami", "instanceMarketOptions", "rootBlockDevice.encrypted", "subnetId"}
    ),
)

"""The VPC: subnets for functions, queue and nodes, no NAT, and every security group with its rules,
which `Network.allow` alone writes.
"""

from collections import defaultdict
from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import TypedDict

import pulumi
import pulumi_aws as aws

from components.component import Component
from tlfif.names import REDIS_PORT

# A /24 each of the VPC's 10.20.0.0/22; the queue's is fixed by RED-002. Nodes have one zone after
# another: the first with the queue, and the others half of what is left.
VPC_CIDR = "10.20.0.0/22"
LAMBDA_CIDR, QUEUE_CIDR = "10.20.0.0/24", "10.20.1.0/24"
NODE_CIDRS = ("10.20.2.0/24", "10.20.3.0/25", "10.20.3.128/25")
HTTP, HTTPS = 80, 443


def ipv6_subnet(vpc_block: str, index: int) -> str:
    """The `index`-th /64 of the VPC's /56."""
    network = IPv6Network(vpc_block)
    return str(IPv6Network((int(network.network_address) + (index << 64), 64)))


class Address(TypedDict, total=False):
    """How a rule names the other end of a connection: by one of these."""

    cidr_ipv4: pulumi.Input[str]
    cidr_ipv6: pulumi.Input[str]
    prefix_list_id: pulumi.Input[str]
    referenced_security_group_id: pulumi.Input[str]


@dataclass(frozen=True)
class Peer:
    """Whoever is at one end of a connection and gets no rule for it."""

    name: str
    address: Address


@dataclass(frozen=True)
class Group:
    """A security group, whose rules `Network.allow` writes."""

    name: str
    id: pulumi.Output[str]

    @property
    def address(self) -> Address:
        return {"referenced_security_group_id": self.id}

    @property
    def peer(self) -> Peer:
        """The same group, for a connection that its own rules cover already."""
        return Peer(self.name, self.address)


VPC = Peer("vpc", {"cidr_ipv4": VPC_CIDR})


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """`gpu_instance_type` decides the availability zones: not every one has such machines."""

    region: str
    gpu_instance_type: str


class Network(Component):
    """A dual-stack VPC; functions reach AWS over IPv6 and the S3 endpoint, nodes over their own
    address.
    """

    def __init__(
        self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self._ways: defaultdict[str, list[pulumi.Resource]] = defaultdict(list)
        self.vpc = aws.ec2.Vpc(
            f"{name}-vpc",
            cidr_block=VPC_CIDR,
            assign_generated_ipv6_cidr_block=True,
            enable_dns_support=True,
            enable_dns_hostnames=True,
            opts=self._child(),
        )
        # Every VPC has a group that lets its members reach one another, and whoever is put into no
        # other is in that one. Here it lets nobody do anything.
        aws.ec2.DefaultSecurityGroup(
            f"{name}-default-group", vpc_id=self.vpc.id, ingress=[], egress=[], opts=self._child()
        )
        self._create_subnets()
        self._create_routes()
        self.lambda_group = self.group("lambda", "functions that use the queue")
        self.queue_group = self.group("queue", "the job queue")
        self.node_group = self.group("node", "GPU nodes; nobody may connect to them")
        self._allow_work()
        # No NAT, no interface endpoint, and the S3 endpoint is a gateway: nothing here is billed.
        self.register_outputs({"vpc_id": self.vpc.id, "ipv6_cidr": self.vpc.ipv6_cidr_block})

    @property
    def node_subnet_ids(self) -> list[pulumi.Output[str]]:
        """The subnets of the nodes, a zone each."""
        return [subnet.id for subnet in self._node_subnets]

    @property
    def function_ways(self) -> list[pulumi.Resource]:
        """What a function must wait for, so that its first call finds the queue and AWS."""
        return [*self._ways["private"], *self._ways["lambda"]]

    @property
    def node_ways(self) -> list[pulumi.Resource]:
        """What a node must wait for: it boots at once, and on its way out at that."""
        return [*self._ways["public"], *self._ways["node"]]

    def public_ways(self, group: Group) -> list[pulumi.Resource]:
        """What a group's machines beside the nodes must wait for, as far as it is allowed yet."""
        return [*self._ways["public"], *self._ways[group.name]]

    def _create_subnets(self) -> None:
        zones = self._zones_with_gpus()
        # Traffic inside one zone is free.
        self.lambda_subnet = self._subnet("lambda", 0, LAMBDA_CIDR, zones[0])
        self.queue_subnet = self._subnet("queue", 1, QUEUE_CIDR, zones[0])
        self._node_subnets = [
            self._subnet(
                "node" if number == 0 else f"node-{number}", 2 + number, *place, public=True
            )
            for number, place in enumerate(zip(NODE_CIDRS, zones, strict=False))
        ]

    def _zones_with_gpus(self) -> list[str]:
        """The zones that offer the GPU: where one has no machine left, another may."""
        offered = aws.ec2.get_instance_type_offerings(
            filters=[{"name": "instance-type", "values": [self._args.gpu_instance_type]}],
            location_type="availability-zone",
            opts=pulumi.InvokeOptions(parent=self),
        )
        if not offered.locations:
            raise pulumi.RunError(
                f"gpu:instanceType = {self._args.gpu_instance_type!r} is not offered in "
                f"{self._args.region}; choose another instance type, or another aws:region."
            )
        return sorted(offered.locations)

    def _subnet(
        self, role: str, index: int, cidr: str, zone: str, *, public: bool = False
    ) -> aws.ec2.Subnet:
        return aws.ec2.Subnet(
            f"{self._name}-{role}-subnet",
            vpc_id=self.vpc.id,
            cidr_block=cidr,
            ipv6_cidr_block=self.vpc.ipv6_cidr_block.apply(lambda block: ipv6_subnet(block, index)),
            assign_ipv6_address_on_creation=True,
            availability_zone=zone,
            # Not the instance's own argument: set to true there, the next refresh would replace a
            # stopped node.
            map_public_ip_on_launch=public,
            # Offerings change; a subnet, and the node's disk in it, should not move because of
            # that.
            opts=self._child(ignore_changes=["availability_zone"]),
        )

    def _create_routes(self) -> None:
        internet = aws.ec2.InternetGateway(
            f"{self._name}-internet", vpc_id=self.vpc.id, opts=self._child()
        )
        outbound = aws.ec2.EgressOnlyInternetGateway(
            f"{self._name}-outbound", vpc_id=self.vpc.id, opts=self._child()
        )
        public = self._route_table("public", *self._node_subnets)
        private = self._route_table("private", self.lambda_subnet, self.queue_subnet)
        anywhere, anywhere_ipv6 = "0.0.0.0/0", "::/0"
        self._route(
            "public", "ipv4", public, destination_cidr_block=anywhere, gateway_id=internet.id
        )
        self._route(
            "public",
            "ipv6",
            public,
            destination_ipv6_cidr_block=anywhere_ipv6,
            gateway_id=internet.id,
        )
        self._route(
            "private",
            "ipv6",
            private,
            destination_ipv6_cidr_block=anywhere_ipv6,
            egress_only_gateway_id=outbound.id,
        )
        self.s3_endpoint = aws.ec2.VpcEndpoint(
            f"{self._name}-s3",
            vpc_id=self.vpc.id,
            service_name=f"com.amazonaws.{self._args.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[public.id, private.id],
            opts=self._child(),
        )
        self._ways["private"].append(self.s3_endpoint)

    def _route_table(self, role: str, *subnets: aws.ec2.Subnet) -> aws.ec2.RouteTable:
        table = aws.ec2.RouteTable(
            f"{self._name}-{role}-routes", vpc_id=self.vpc.id, opts=self._child()
        )
        for number, subnet in enumerate(subnets):
            association = aws.ec2.RouteTableAssociation(
                f"{self._name}-{role}-association-{number}",
                route_table_id=table.id,
                subnet_id=subnet.id,
                opts=self._child(),
            )
            self._ways[role].append(association)
        return table

    def _route(
        self, role: str, family: str, table: aws.ec2.RouteTable, **target: pulumi.Input[str]
    ) -> None:
        route = aws.ec2.Route(
            f"{self._name}-{role}-{family}",
            aws.ec2.RouteArgs(route_table_id=table.id, **target),
            opts=self._child(),
        )
        self._ways[role].append(route)

    def group(self, role: str, description: str) -> Group:
        """A security group of this VPC, to which nobody may connect yet."""
        made = aws.ec2.SecurityGroup(
            f"{self._name}-{role}-group",
            vpc_id=self.vpc.id,
            description=f"tl-fif: {description}",
            opts=self._child(),
        )
        return Group(role, made.id)

    def allow(self, source: Group | Peer, target: Group | Peer, port: int, why: str) -> None:
        """Lets `source` open TCP connections to one port of `target`.

        Each end that is a Group gets its rule, with `why` as its description.
        """
        ways = self._ways[source.name]
        if isinstance(source, Group):
            going = aws.vpc.SecurityGroupEgressRule(
                f"{self._name}-{source.name}-to-{target.name}",
                aws.vpc.SecurityGroupEgressRuleArgs(
                    security_group_id=source.id,
                    ip_protocol="tcp",
                    from_port=port,
                    to_port=port,
                    description=why,
                    **target.address,
                ),
                opts=self._child(),
            )
            ways.append(going)
        if isinstance(target, Group):
            coming = aws.vpc.SecurityGroupIngressRule(
                f"{self._name}-{target.name}-from-{source.name}",
                aws.vpc.SecurityGroupIngressRuleArgs(
                    security_group_id=target.id,
                    ip_protocol="tcp",
                    from_port=port,
                    to_port=port,
                    description=why,
                    **source.address,
                ),
                opts=self._child(),
            )
            ways.append(coming)

    def _allow_work(self) -> None:
        """Functions and nodes reach the queue, AWS's APIs and the replies."""
        anywhere = Peer("aws-ipv6", {"cidr_ipv6": "::/0"})
        for group in (self.lambda_group, self.node_group):
            self.allow(group, self.queue_group, REDIS_PORT, "jobs")
            self.allow(group, anywhere, HTTPS, "APIs of AWS")
        s3 = Peer("s3", {"prefix_list_id": self.s3_endpoint.prefix_list_id})
        self.allow(self.lambda_group, s3, HTTPS, "replies")
        # Nodes have an IPv4 address of their own, functions have none.
        self.allow(
            self.node_group, Peer("aws-ipv4", {"cidr_ipv4": "0.0.0.0/0"}), HTTPS, "APIs of AWS"
        )

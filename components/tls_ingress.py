"""EC2-005 to the letter: TLS connections from inside the VPC to the nodes, through a network load
balancer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi_aws.acm.outputs import CertificateDomainValidationOption

from components import billed, pricing
from components.component import Component
from components.network import HTTPS, VPC, Group, Network
from components.pricing import CostLine

# Nothing older than TLS 1.2.
TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
# A node is well once its engine answers, not once nginx does; of two nodes the one that boots gets
# nothing. While none is up there is none well either, and the balancer asks all. Checks are made by
# TLS 1.2, which nginx has to go on speaking.
HEALTH_CHECK = aws.lb.TargetGroupHealthCheckArgs(
    protocol="HTTPS",
    port=str(HTTPS),
    path="/health",
    matcher="200",
    interval=10,
    healthy_threshold=2,
    unhealthy_threshold=2,
)
# How long `pulumi up` waits for the owner of the domain to publish the certificate's record.
VALIDATION_TIMEOUT = "30m"


@dataclass(frozen=True, kw_only=True)
class TlsIngressArgs:
    """`domain` is the certificate's name, `node_addresses` are the private IPv4 addresses of the
    nodes behind the balancer, and `network` is where both are: it opens the ways between them.
    """

    domain: str
    network: Network
    node_addresses: Sequence[pulumi.Input[str]]


class TlsIngress(Component):
    """An internal balancer with an ACM certificate; jobs come by the queue, so nothing of ours
    needs it.
    """

    def __init__(
        self, name: str, args: TlsIngressArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self.balancer = aws.lb.LoadBalancer(
            f"{name}-nlb",
            internal=True,
            load_balancer_type="network",
            subnets=[args.network.node_subnet.id],
            security_groups=[self._create_group().id],
            opts=self._child(),
        )
        self._listen(self._create_certificate(), self._create_targets())
        self._bill(*_cost_lines())
        self.host = self.balancer.dns_name
        self.register_outputs({"host": self.host})

    def _create_group(self) -> Group:
        """Callers inside the VPC reach the balancer, and the balancer the nodes; nobody reaches a
        node otherwise.
        """
        network = self._args.network
        group = network.group("balancer", "TLS balancer")
        network.allow(VPC, group, HTTPS, "callers in the VPC")
        # Each side of the same connection says what is at the other.
        network.allow(group, network.node_group.peer, HTTPS, "nginx on the nodes")
        network.allow(group.peer, network.node_group, HTTPS, "the TLS balancer")
        return group

    def _create_certificate(self) -> aws.acm.CertificateValidation:
        certificate = aws.acm.Certificate(
            f"{self._name}-certificate",
            domain_name=self._args.domain,
            validation_method="DNS",
            # A listener never stands without one: the new one is there before the old one goes.
            opts=self._child(delete_before_replace=False),
        )
        # Said while `pulumi up` waits: afterwards it is too late to need it.
        certificate.domain_validation_options.apply(_ask_for_records)
        return aws.acm.CertificateValidation(
            f"{self._name}-validation",
            certificate_arn=certificate.arn,
            opts=self._child(custom_timeouts=pulumi.CustomTimeouts(create=VALIDATION_TIMEOUT)),
        )

    def _create_targets(self) -> aws.lb.TargetGroup:
        # nginx on the node has a certificate of its own; the balancer encrypts again and does not
        # judge it.
        # By address: an instance can be registered only while it runs, and ours are stopped; their
        # private addresses stay. Of targets by address the balancer keeps no client's address
        # unless told to; so the nodes see it, whom their security group lets in.
        targets = aws.lb.TargetGroup(
            f"{self._name}-nodes",
            vpc_id=self._args.network.vpc.id,
            port=HTTPS,
            protocol="TLS",
            target_type="ip",
            preserve_client_ip="false",
            health_check=HEALTH_CHECK,
            opts=self._child(),
        )
        for number, address in enumerate(self._args.node_addresses):
            aws.lb.TargetGroupAttachment(
                f"{self._name}-node-{number}",
                target_group_arn=targets.arn,
                target_id=address,
                opts=self._child(),
            )
        return targets

    def _listen(
        self, certificate: aws.acm.CertificateValidation, targets: aws.lb.TargetGroup
    ) -> None:
        aws.lb.Listener(
            f"{self._name}-listener",
            load_balancer_arn=self.balancer.arn,
            port=HTTPS,
            protocol="TLS",
            ssl_policy=TLS_POLICY,
            certificate_arn=certificate.certificate_arn,
            default_actions=[{"type": "forward", "target_group_arn": targets.arn}],
            opts=self._child(),
        )


def _cost_lines() -> list[CostLine]:
    key, traffic, certificate = "gpu:tlsIngress", "TLS balancer's traffic", "public certificate"
    return [
        pricing.line("NLB", pricing.HOURS, "TLS balancer", resource=billed.BALANCER, key=key),
        pricing.line("NLB capacity", 1, traffic, per="gpu-hour", resource=billed.BALANCER),
        pricing.line(certificate, 1, "TLS certificate", resource=billed.CERTIFICATE),
    ]


def _ask_for_records(options: Sequence[CertificateDomainValidationOption]) -> None:
    for each in options:
        name, kind, value = (
            each.resource_record_name,
            each.resource_record_type,
            each.resource_record_value,
        )
        pulumi.log.info(
            f"gpu:domain: publish this DNS record, ACM waits {VALIDATION_TIMEOUT} for it: "
            f"{name} {kind} {value}"
        )

"""EC2-005 to the letter: TLS connections from inside the VPC to the nodes, through a network load
balancer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi_aws.acm.outputs import CertificateDomainValidationOption

from components import pricing
from components.network import HTTPS, VPC_CIDR, Network

# Nothing older than TLS 1.2.
TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
# How long `pulumi up` waits for the owner of the domain to publish the certificate's record.
VALIDATION_TIMEOUT = "30m"


@dataclass(frozen=True, kw_only=True)
class TlsIngressArgs:
    domain: str
    network: Network
    instances: Sequence[aws.ec2.Instance]


class TlsIngress(pulumi.ComponentResource):
    """An internal balancer with an ACM certificate; jobs come by the queue, so nothing of ours
    needs it.
    """

    def __init__(
        self, name: str, args: TlsIngressArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:TlsIngress", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self.balancer = aws.lb.LoadBalancer(
            f"{name}-nlb",
            internal=True,
            load_balancer_type="network",
            subnets=[args.network.node_subnet.id],
            security_groups=[self._create_security().id],
            opts=self._child,
        )
        self._listen(self._create_certificate(), self._create_targets())
        self.cost_lines = [
            pricing.line(
                "NLB",
                pricing.HOURS,
                "TLS balancer",
                resource=pricing.BALANCER,
                key="gpu:tlsIngress",
            ),
            pricing.line(
                "NLB capacity",
                1,
                "TLS balancer's traffic",
                per="gpu-hour",
                resource=pricing.BALANCER,
            ),
            pricing.line("public certificate", 1, "TLS certificate", resource=pricing.CERTIFICATE),
        ]
        self.host = self.balancer.dns_name
        self.register_outputs({"host": self.host})

    def _create_security(self) -> aws.ec2.SecurityGroup:
        """Callers inside the VPC reach the balancer, and the balancer the nodes; nobody reaches a
        node otherwise.
        """
        network, name = self._args.network, self._name
        group = aws.ec2.SecurityGroup(
            f"{name}-group",
            vpc_id=network.vpc.id,
            description="tl-fif: TLS balancer",
            opts=self._child,
        )
        port: dict[str, Any] = {
            "ip_protocol": "tcp",
            "from_port": HTTPS,
            "to_port": HTTPS,
            "opts": self._child,
        }
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-from-vpc",
            security_group_id=group.id,
            cidr_ipv4=VPC_CIDR,
            description="callers in the VPC",
            **port,
        )
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-to-node",
            security_group_id=group.id,
            referenced_security_group_id=network.node_group.id,
            description="nginx on the nodes",
            **port,
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-into-node",
            security_group_id=network.node_group.id,
            referenced_security_group_id=group.id,
            description="the TLS balancer",
            **port,
        )
        return group

    def _create_certificate(self) -> aws.acm.CertificateValidation:
        certificate = aws.acm.Certificate(
            f"{self._name}-certificate",
            domain_name=self._args.domain,
            validation_method="DNS",
            # A listener never stands without one: the new one is there before the old one goes.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=False),
        )
        # Said while `pulumi up` waits: afterwards it is too late to need it.
        certificate.domain_validation_options.apply(_ask_for_records)
        return aws.acm.CertificateValidation(
            f"{self._name}-validation",
            certificate_arn=certificate.arn,
            opts=pulumi.ResourceOptions(
                parent=self, custom_timeouts=pulumi.CustomTimeouts(create=VALIDATION_TIMEOUT)
            ),
        )

    def _create_targets(self) -> aws.lb.TargetGroup:
        # nginx on the node has a certificate of its own; the balancer encrypts again and does not
        # judge it.
        targets = aws.lb.TargetGroup(
            f"{self._name}-nodes",
            vpc_id=self._args.network.vpc.id,
            port=HTTPS,
            protocol="TLS",
            target_type="instance",
            health_check={"protocol": "TCP", "port": str(HTTPS)},
            opts=self._child,
        )
        for number, instance in enumerate(self._args.instances):
            aws.lb.TargetGroupAttachment(
                f"{self._name}-node-{number}",
                target_group_arn=targets.arn,
                target_id=instance.id,
                opts=self._child,
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
            opts=self._child,
        )


def _ask_for_records(options: Sequence[CertificateDomainValidationOption]) -> None:
    for option in options:
        record = f"{option.resource_record_name} {option.resource_record_type} {option.resource_record_value}"
        pulumi.log.info(
            f"gpu:domain: publish this DNS record, ACM waits {VALIDATION_TIMEOUT} for it: {record}"
        )

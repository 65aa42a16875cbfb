"""The VPC-only routes to the letter: a private API behind an interface endpoint, for 10.20.0.0/22
(API-005).
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
import yaml

from components import iam, pricing
from components.gateway import OPENAPI, STAGE, render, vpc_only_paths
from components.lambda_function import LambdaFunction
from components.network import HTTPS, VPC_CIDR, Network


def private_body(text: str, queue_health_uri: str) -> str:
    """openapi.yaml with only the routes that ask for no token."""
    spec: dict[str, Any] = yaml.safe_load(text)
    kept = vpc_only_paths(spec)
    spec["paths"] = {path: item for path, item in spec["paths"].items() if path in kept}
    del spec["components"]["securitySchemes"]
    known = {"queue_health_uri": queue_health_uri}
    return json.dumps(render(yaml.safe_dump(spec), known), sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class PrivateGatewayArgs:
    region: str
    stack: str
    queue_health: LambdaFunction
    network: Network


class PrivateGateway(pulumi.ComponentResource):
    """GET /ping and /queue-health at the endpoint's own host: private DNS would take the public
    API's name as well.
    """

    def __init__(
        self, name: str, args: PrivateGatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:PrivateGateway", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self.endpoint = self._create_endpoint()
        body = args.queue_health.invoke_arn.apply(
            lambda uri: private_body(OPENAPI.read_text(), uri)
        )
        self.api = aws.apigateway.RestApi(
            f"{name}-api",
            name=f"tl-fif-{args.stack}-private",
            body=body,
            endpoint_configuration={
                "types": "PRIVATE",
                "ip_address_type": "dualstack",
                "vpc_endpoint_ids": [self.endpoint.id],
            },
            opts=self._child,
        )
        args.queue_health.allow_invoke(
            "private-api",
            "apigateway.amazonaws.com",
            pulumi.Output.concat(self.api.execution_arn, "/*/GET/queue-health"),
        )
        self.stage = self._create_stage(body)
        host = pulumi.Output.concat(
            self.api.id, "-", self.endpoint.id, f".execute-api.{args.region}.amazonaws.com"
        )
        self.url = pulumi.Output.concat("https://", host, "/", STAGE)
        self.cost_lines = [
            pricing.line(
                "interface endpoint",
                pricing.HOURS,
                "private endpoint of /ping",
                resource=pricing.ENDPOINT,
                key="gateway:privateEndpoint",
            )
        ]
        self.register_outputs({"url": self.url})

    def _create_endpoint(self) -> aws.ec2.VpcEndpoint:
        network = self._args.network
        group = aws.ec2.SecurityGroup(
            f"{self._name}-group",
            vpc_id=network.vpc.id,
            description="tl-fif: the private API's endpoint",
            opts=self._child,
        )
        rule: dict[str, Any] = {
            "ip_protocol": "tcp",
            "from_port": HTTPS,
            "to_port": HTTPS,
            "opts": self._child,
        }
        aws.vpc.SecurityGroupIngressRule(
            f"{self._name}-from-vpc",
            security_group_id=group.id,
            cidr_ipv4=VPC_CIDR,
            description="health checks from inside the VPC",
            **rule,
        )
        aws.vpc.SecurityGroupEgressRule(
            f"{self._name}-from-lambda",
            security_group_id=network.lambda_group.id,
            referenced_security_group_id=group.id,
            description="health checks",
            **rule,
        )
        return aws.ec2.VpcEndpoint(
            f"{self._name}-endpoint",
            vpc_id=network.vpc.id,
            service_name=f"com.amazonaws.{self._args.region}.execute-api",
            vpc_endpoint_type="Interface",
            private_dns_enabled=False,
            subnet_ids=[network.lambda_subnet.id],
            security_group_ids=[group.id],
            opts=self._child,
        )

    def _create_stage(self, body: pulumi.Output[str]) -> aws.apigateway.Stage:
        known = pulumi.Output.all(arn=self.api.execution_arn, endpoint=self.endpoint.id)
        # Without a policy a private API cannot be deployed.
        policy = aws.apigateway.RestApiPolicy(
            f"{self._name}-fence",
            rest_api_id=self.api.id,
            policy=known.apply(
                lambda k: json.dumps(
                    iam.document(*iam.private_routes(k["arn"], k["endpoint"], VPC_CIDR))
                )
            ),
            opts=self._child,
        )
        content = pulumi.Output.all(body, policy.policy).apply("\n".join)
        deployment = aws.apigateway.Deployment(
            f"{self._name}-deployment",
            rest_api=self.api.id,
            triggers={
                "content": content.apply(lambda text: hashlib.sha256(text.encode()).hexdigest())
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
        return aws.apigateway.Stage(
            f"{self._name}-stage",
            rest_api=self.api.id,
            deployment=deployment.id,
            stage_name=STAGE,
            opts=self._child,
        )

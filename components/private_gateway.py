"""The VPC-only routes to the letter: a private API behind an interface endpoint, for 10.20.0.0/22
(API-005).
"""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import billed, pricing, resource_policies
from components.lambda_function import LambdaFunction
from components.network import HTTPS, VPC, VPC_CIDR, Network
from components.openapi import OPENAPI, private
from components.rest_api import SERVICE, STAGE, RestApi, fenced


@dataclass(frozen=True, kw_only=True)
class PrivateGatewayArgs:
    """`queue_health` is the function behind GET /queue-health; `network` is where the endpoint is,
    and opens the way to it.
    """

    region: str
    stack: str
    queue_health: LambdaFunction
    network: Network


class PrivateGateway(RestApi):
    """GET /ping and /queue-health at the endpoint's own host: private DNS would take the public
    API's name as well.
    """

    def __init__(
        self, name: str, args: PrivateGatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self.endpoint = self._create_endpoint()
        known = pulumi.Output.all(args.queue_health.invoke_arn, self.endpoint.id)
        name = f"tl-fif-{args.stack}-private"
        body = known.apply(lambda each: _body(name, *each))
        self.api = self._create_api(name, body)
        allowed = args.queue_health.allow_invoke(
            "private-api",
            SERVICE,
            pulumi.Output.concat(self.api.execution_arn, "/*/GET/queue-health"),
        )
        self.stage = self._create_stage(self._deploy(self.api, body), allowed)
        host = f".execute-api.{args.region}.amazonaws.com/{STAGE}"
        self.url = pulumi.Output.concat("https://", self.api.id, "-", self.endpoint.id, host)
        item, what, key = (
            "interface endpoint",
            "private endpoint of /ping",
            "gateway:privateEndpoint",
        )
        self._bill(pricing.line(item, pricing.HOURS, what, resource=billed.ENDPOINT, key=key))
        self.register_outputs({"url": self.url})

    def _create_endpoint(self) -> aws.ec2.VpcEndpoint:
        network = self._args.network
        group = network.group("endpoint", "endpoint of the private API")
        network.allow(VPC, group, HTTPS, "health checks from inside the VPC")
        network.allow(network.lambda_group, group.peer, HTTPS, "health checks")
        return aws.ec2.VpcEndpoint(
            f"{self._name}-endpoint",
            vpc_id=network.vpc.id,
            service_name=f"com.amazonaws.{self._args.region}.execute-api",
            vpc_endpoint_type="Interface",
            private_dns_enabled=False,
            subnet_ids=[network.lambda_subnet.id],
            security_group_ids=[group.id],
            opts=self._child(),
        )

    def _create_api(self, name: str, body: pulumi.Output[str]) -> aws.apigateway.RestApi:
        return aws.apigateway.RestApi(
            f"{self._name}-api",
            name=name,
            body=body,
            endpoint_configuration={
                "types": "PRIVATE",
                "ip_address_type": "dualstack",
                "vpc_endpoint_ids": [self.endpoint.id],
            },
            opts=self._child(),
        )

    def _create_stage(
        self, deployment: aws.apigateway.Deployment, allowed: pulumi.Resource
    ) -> aws.apigateway.Stage:
        return aws.apigateway.Stage(
            f"{self._name}-stage",
            rest_api=self.api.id,
            deployment=deployment.id,
            stage_name=STAGE,
            opts=self._child(depends_on=[allowed]),
        )


def _body(name: str, queue_health_uri: str, endpoint_id: str) -> str:
    """Without a policy a private API cannot be deployed, and without its endpoint nobody finds it:
    in the body neither is ever gone while it is imported.
    """
    endpoint = {"x-amazon-apigateway-endpoint-configuration": {"vpcEndpointIds": [endpoint_id]}}
    spec = private(OPENAPI.read_text(), {"queue_health_uri": queue_health_uri})
    return fenced(
        {**spec, "servers": [{"url": "/", **endpoint}]},
        name,
        *resource_policies.private_routes(endpoint_id, VPC_CIDR),
    )

"""The HTTP surface: a REST API made from openapi.yaml, its authorizer, the fence around VPC-only
routes, a stage.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import yaml

from components import iam, pricing
from components.alerts import Alerts
from components.identity import Identity
from components.lambda_function import LambdaFunction, LambdaFunctionArgs, VpcPlacement
from components.naming import stack_name
from components.network import Network
from components.pricing import CostLine
from components.queue import Queue
from components.queue_health import QueueHealth, QueueHealthArgs
from components.settings import Settings
from components.storage import Storage
from tlfif import environment
from tlfif.names import ACCESS_LOG_GROUP

ROOT = Path(__file__).resolve().parent.parent
OPENAPI = ROOT / "openapi.yaml"
LATENCY_QUERY = ROOT / "queries" / "api_latency.cwi"
LATENCY_ALARM_MS = 300
STAGE = "v1"
ACCESS_LOG_DAYS = 30
ACCESS_LOG_FORMAT = json.dumps(
    {
        "requestId": "$context.requestId",
        "ip": "$context.identity.sourceIp",
        "route": "$context.httpMethod $context.resourcePath",
        "status": "$context.status",
        "latencyMs": "$context.responseLatency",
    }
)
# The outer fuse; each user's own limits are the router's.
RATE_PER_SECOND, BURST = 20, 40
ACCESS_LOG_GB = 0.25e-6
AUTHORIZER_TIMEOUT_S = 5


def render(text: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The OpenAPI document with every `${name}` replaced; KeyError for a name neither given nor in
    x-tlfif-shared.
    """
    spec = yaml.safe_load(text)
    shared = {
        name: value for name, value in spec.pop("x-tlfif-shared").items() if isinstance(value, str)
    }
    return _fill(spec, {**shared, **values})


def _fill(node: Any, values: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _fill(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, values) for value in node]
    if isinstance(node, str):
        return re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], node)
    return node


def vpc_only_paths(spec: Mapping[str, Any]) -> list[str]:
    """The paths with an operation that asks for no token: forgetting `security` closes a route,
    never opens it.
    """
    return [
        path
        for path, item in spec["paths"].items()
        if any(
            isinstance(op, dict) and m != "options" and "security" not in op
            for m, op in item.items()
        )
    ]


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    settings: Settings
    stack: str
    identity: Identity
    router: LambdaFunction
    queue: Queue
    vpc: VpcPlacement
    alerts: Alerts
    storage: Storage
    network: Network


class Gateway(pulumi.ComponentResource):
    """A regional dual-stack REST API with one stage."""

    def __init__(
        self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:Gateway", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self._openapi = OPENAPI.read_text()
        self.authorizer = self._create_authorizer()
        self.queue_health = QueueHealth(
            "queue-health",
            QueueHealthArgs(stack=args.stack, queue=args.queue, vpc=args.vpc, alerts=args.alerts),
            opts=self._child,
        )
        body = self._body(self._create_replies_role())
        self.api = aws.apigateway.RestApi(
            f"{name}-api",
            name=f"tl-fif-{args.stack}",
            body=body,
            endpoint_configuration={"types": "REGIONAL", "ip_address_type": "dualstack"},
            opts=self._child,
        )
        self._allow_invocations()
        self.stage = self._create_stage(self._deploy(body, self._fence()))
        self._throttle()
        self._watch_latency()
        self.url = self.stage.invoke_url
        self.cost_lines = [
            *_cost_lines(args.settings.costs.requests_per_month),
            *self.authorizer.cost_lines,
            *self.queue_health.cost_lines,
        ]
        self.register_outputs({"url": self.url})

    def _create_authorizer(self) -> LambdaFunction:
        args = self._args
        told = environment.UserPool.variables(
            user_pool_id=args.identity.user_pool.id, client_id=args.identity.client.id
        )
        return LambdaFunction(
            f"{self._name}-authorizer",
            LambdaFunctionArgs(
                source="authorizer",
                stack=args.stack,
                timeout_s=AUTHORIZER_TIMEOUT_S,
                environment=told,
                monthly_calls=args.settings.costs.requests_per_month,
                starts_traces=False,
            ),
            opts=self._child,
        )

    def _create_replies_role(self) -> aws.iam.Role:
        """The role with which API Gateway itself reads replies from S3."""
        role = aws.iam.Role(
            f"{self._name}-replies-role",
            assume_role_policy=pulumi.Output.json_dumps(
                iam.document(iam.trust("apigateway.amazonaws.com"))
            ),
            opts=self._child,
        )
        statements = (
            iam.read_replies(self._args.storage.bucket.arn),
            iam.see_missing_replies(self._args.storage.bucket.arn),
        )
        aws.iam.RolePolicy(
            f"{self._name}-replies-policy",
            role=role.name,
            policy=pulumi.Output.json_dumps(iam.document(*statements)),
            opts=self._child,
        )
        return role

    def _body(self, replies_role: aws.iam.Role) -> pulumi.Output[str]:
        s3 = f"arn:aws:apigateway:{self._args.settings.region}:s3:path"
        values = pulumi.Output.all(
            router_uri=self._args.router.invoke_arn,
            queue_health_uri=self.queue_health.function.invoke_arn,
            authorizer_uri=self.authorizer.invoke_arn,
            replies_role=replies_role.arn,
            replies_uri=pulumi.Output.concat(
                s3, "/", self._args.storage.bucket.bucket, "/replies/{sub}/{object}"
            ),
        )
        return values.apply(lambda known: json.dumps(render(self._openapi, known), sort_keys=True))

    def _allow_invocations(self) -> None:
        arn = self.api.execution_arn
        self._args.router.allow_invoke(
            "api", "apigateway.amazonaws.com", pulumi.Output.concat(arn, "/*/*/*")
        )
        self.queue_health.function.allow_invoke(
            "api", "apigateway.amazonaws.com", pulumi.Output.concat(arn, "/*/GET/queue-health")
        )
        self.authorizer.allow_invoke(
            "api", "apigateway.amazonaws.com", pulumi.Output.concat(arn, "/authorizers/*")
        )

    def _fence(self) -> aws.apigateway.RestApiPolicy:
        paths = vpc_only_paths(yaml.safe_load(self._openapi))
        extra = self._args.settings.gateway.extra_ping_cidrs

        def policy(known: dict[str, str]) -> str:
            return json.dumps(
                iam.document(*iam.vpc_only_routes(known["arn"], paths, [known["cidr"], *extra]))
            )

        known = pulumi.Output.all(
            arn=self.api.execution_arn, cidr=self._args.network.vpc.ipv6_cidr_block
        )
        return aws.apigateway.RestApiPolicy(
            f"{self._name}-fence",
            rest_api_id=self.api.id,
            policy=known.apply(policy),
            opts=self._child,
        )

    def _deploy(
        self, body: pulumi.Output[str], fence: aws.apigateway.RestApiPolicy
    ) -> aws.apigateway.Deployment:
        # A resource policy, like a route, takes effect at the next deployment.
        content = pulumi.Output.all(body, fence.policy).apply("\n".join)
        return aws.apigateway.Deployment(
            f"{self._name}-deployment",
            rest_api=self.api.id,
            triggers={
                "content": content.apply(lambda text: hashlib.sha256(text.encode()).hexdigest())
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[fence]),
        )

    def _create_stage(self, deployment: aws.apigateway.Deployment) -> aws.apigateway.Stage:
        logs = aws.cloudwatch.LogGroup(
            f"{self._name}-access-logs",
            name=stack_name(ACCESS_LOG_GROUP, self._args.stack),
            retention_in_days=ACCESS_LOG_DAYS,
            opts=self._child,
        )
        aws.cloudwatch.QueryDefinition(
            f"{self._name}-latency-query",
            name=f"tl-fif-{self._args.stack}/api_latency",
            log_group_names=[logs.name],
            query_string=LATENCY_QUERY.read_text(),
            opts=self._child,
        )
        account = [self._create_account()] if self._args.settings.gateway.manage_account else []
        return aws.apigateway.Stage(
            f"{self._name}-stage",
            rest_api=self.api.id,
            deployment=deployment.id,
            stage_name=STAGE,
            access_log_settings={"destination_arn": logs.arn, "format": ACCESS_LOG_FORMAT},
            xray_tracing_enabled=True,
            # Without the account's log role a stage with access logs cannot be made.
            opts=pulumi.ResourceOptions(parent=self, depends_on=account),
        )

    def _create_account(self) -> aws.apigateway.Account:
        """The log role that an account has one of per region."""
        role = aws.iam.Role(
            f"{self._name}-logs-role",
            assume_role_policy=pulumi.Output.json_dumps(
                iam.document(iam.trust("apigateway.amazonaws.com"))
            ),
            opts=self._child,
        )
        attachment = aws.iam.RolePolicyAttachment(
            f"{self._name}-logs-policy",
            role=role.name,
            policy_arn="arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs",
            opts=self._child,
        )
        return aws.apigateway.Account(
            f"{self._name}-account",
            cloudwatch_role_arn=role.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[attachment]),
        )

    def _watch_latency(self) -> None:
        topic = self._args.alerts.topic.arn
        aws.cloudwatch.MetricAlarm(
            f"{self._name}-slow",
            alarm_description=f"One request in twenty took {LATENCY_ALARM_MS} ms or longer, for five minutes.",
            namespace="AWS/ApiGateway",
            metric_name="Latency",
            dimensions={"ApiName": self.api.name, "Stage": self.stage.stage_name},
            extended_statistic="p95",
            # A night with three requests, one of them a cold start, is no incident.
            evaluate_low_sample_count_percentiles="ignore",
            period=300,
            evaluation_periods=1,
            threshold=LATENCY_ALARM_MS,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[topic],
            ok_actions=[topic],
            opts=self._child,
        )

    def _throttle(self) -> None:
        aws.apigateway.MethodSettings(
            f"{self._name}-throttle",
            rest_api=self.api.id,
            stage_name=self.stage.stage_name,
            method_path="*/*",
            settings={"throttling_rate_limit": RATE_PER_SECOND, "throttling_burst_limit": BURST},
            opts=self._child,
        )


def _cost_lines(requests: int) -> list[CostLine]:
    return [
        pricing.line(
            "REST request",
            requests,
            "API requests",
            resource=pricing.STAGE,
            key="costs:requestsPerMonth",
        ),
        pricing.line("trace", requests, "API traces", resource=pricing.STAGE),
        pricing.line(
            "log ingestion", requests * ACCESS_LOG_GB, "access logs", resource=pricing.LOG_GROUP
        ),
        pricing.line("alarm", 1, "alarm: slow answers", resource=pricing.ALARM),
    ]

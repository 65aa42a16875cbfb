"""The HTTP surface: a REST API made from openapi.yaml, its authorizer, the fence around VPC-only
routes, a stage.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import billed, iam, pricing, resource_policies
from components.lambda_function import LambdaFunction, LambdaFunctionArgs
from components.naming import stack_name
from components.openapi import OPENAPI, render, vpc_only_paths
from components.pricing import CostLine
from components.rest_api import SERVICE, STAGE, RestApi, fenced
from components.storage import RepliesBucket
from tlfif import callers, environment, names
from tlfif.names import ACCESS_LOG_GROUP, REPLIES

LATENCY_QUERY = OPENAPI.parent / "queries" / "api_latency.cwi"
LATENCY_ALARM_MS = 300
ERRORS_ALARM = 3
LOGS_POLICY = "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
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
ACCESS_LOG_GB = 0.25e-6
AUTHORIZER_TIMEOUT_S = 5


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """`router` and `queue_health` are the functions behind the routes, `replies_bucket` is what
    GET /infer/{id} reads; `user_pool_id` and `client_id` say whose tokens are
    good; `vpc_only_cidrs` are the networks that may call the routes without a token.

    `manage_account` is whether this stack sets the region's log role, `requests_per_month` what the
    estimate assumes; `topic_arn` hears of slow answers.
    """

    region: str
    stack: str
    router: LambdaFunction
    queue_health: LambdaFunction
    user_pool_id: pulumi.Input[str]
    client_id: pulumi.Input[str]
    replies_bucket: RepliesBucket
    vpc_only_cidrs: Sequence[pulumi.Input[str]]
    manage_account: bool
    requests_per_month: int
    topic_arn: pulumi.Input[str]


class Gateway(RestApi):
    """A regional dual-stack REST API with one stage."""

    def __init__(
        self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self.authorizer = self._create_authorizer()
        api_name = f"tl-fif-{args.stack}"
        body = self._body(api_name, self._create_replies_role())
        self.api = aws.apigateway.RestApi(
            f"{name}-api",
            name=api_name,
            body=body,
            endpoint_configuration={"types": "REGIONAL", "ip_address_type": "dualstack"},
            # The body says it too; but of a stack that was there before, the provider has HEADER
            # in its state, and would set that again after each change of the body.
            api_key_source="AUTHORIZER",
            opts=self._child(),
        )
        self.stage = self._create_stage(self._deploy(self.api, body), self._allow_invocations())
        self._throttle()
        self._limit_callers()
        self._watch_latency()
        self._watch_errors()
        self.url = self.stage.invoke_url
        self._bill(*_cost_lines(args.requests_per_month))
        self.register_outputs({"url": self.url})

    def _create_authorizer(self) -> LambdaFunction:
        args = self._args
        told = environment.Authorizer.variables(
            stack=args.stack, user_pool_id=args.user_pool_id, client_id=args.client_id
        )
        return LambdaFunction(
            f"{self._name}-authorizer",
            LambdaFunctionArgs(
                source="authorizer",
                stack=args.stack,
                timeout_s=AUTHORIZER_TIMEOUT_S,
                environment=told,
                monthly_calls=args.requests_per_month,
                starts_traces=False,
                terse=True,
            ),
            opts=self._child(),
        )

    def _create_replies_role(self) -> aws.iam.Role:
        """The role with which API Gateway itself reads replies from S3."""
        bucket = self._args.replies_bucket.arn
        statements = (iam.read_replies(bucket), iam.see_missing(bucket))
        return self._role(SERVICE, *statements, role="replies").role

    def _body(self, api_name: str, replies_role: aws.iam.Role) -> pulumi.Output[str]:
        s3 = f"arn:aws:apigateway:{self._args.region}:s3:path/"
        objects = f"/{REPLIES}/{{sub}}/{{object}}"
        values = pulumi.Output.all(
            router_uri=self._args.router.invoke_arn,
            queue_health_uri=self._args.queue_health.invoke_arn,
            authorizer_uri=self.authorizer.invoke_arn,
            replies_role=replies_role.arn,
            replies_uri=pulumi.Output.concat(s3, self._args.replies_bucket.name, objects),
        )
        cidrs = pulumi.Output.all(*self._args.vpc_only_cidrs)
        return pulumi.Output.all(values, cidrs).apply(lambda known: _body(api_name, *known))

    def _allow_invocations(self) -> list[pulumi.Resource]:
        callers = (
            (self._args.router, "/*/*/*"),
            (self._args.queue_health, "/*/GET/queue-health"),
            (self.authorizer, "/authorizers/*"),
        )
        arn = self.api.execution_arn
        return [
            function.allow_invoke("api", SERVICE, pulumi.Output.concat(arn, source))
            for function, source in callers
        ]

    def _create_stage(
        self, deployment: aws.apigateway.Deployment, allowed: Sequence[pulumi.Resource]
    ) -> aws.apigateway.Stage:
        log_group_name = stack_name(ACCESS_LOG_GROUP, self._args.stack)
        self._count(log_group=log_group_name)
        logs = aws.cloudwatch.LogGroup(
            f"{self._name}-access-logs",
            name=log_group_name,
            retention_in_days=ACCESS_LOG_DAYS,
            opts=self._child(),
        )
        aws.cloudwatch.QueryDefinition(
            f"{self._name}-latency-query",
            name=f"tl-fif-{self._args.stack}/api_latency",
            log_group_names=[logs.name],
            query_string=LATENCY_QUERY.read_text(),
            opts=self._child(),
        )
        account = [self._create_account()] if self._args.manage_account else []
        return aws.apigateway.Stage(
            f"{self._name}-stage",
            rest_api=self.api.id,
            deployment=deployment.id,
            stage_name=STAGE,
            access_log_settings={"destination_arn": logs.arn, "format": ACCESS_LOG_FORMAT},
            xray_tracing_enabled=True,
            # Without the account's log role a stage with access logs cannot be made; and what is
            # served may call its functions.
            opts=self._child(depends_on=[*account, *allowed]),
        )

    def _create_account(self) -> aws.apigateway.Account:
        """The log role that an account has one of per region."""
        logs = self._role(SERVICE, role="logs", managed={"policy": LOGS_POLICY})
        return aws.apigateway.Account(
            f"{self._name}-account",
            cloudwatch_role_arn=logs.role.arn,
            opts=self._child(depends_on=logs.policies),
        )

    def _watch_latency(self) -> None:
        self._alarm(
            "slow",
            "slow answers",
            f"One request in twenty took {LATENCY_ALARM_MS} ms or longer in three of the last five "
            "minutes.",
            [self._args.topic_arn],
            namespace="AWS/ApiGateway",
            metric_name="Latency",
            dimensions={"ApiName": self.api.name, "Stage": self.stage.stage_name},
            extended_statistic="p95",
            # `ignore` judges no period with fewer than 10 / (1 - 0.95) = 200 requests, which a
            # small team never has. So each minute is judged, however few it has, and it takes
            # three: a cold start is one slow minute, and no incident.
            evaluate_low_sample_count_percentiles="evaluate",
            period=60,
            evaluation_periods=5,
            datapoints_to_alarm=3,
            threshold=LATENCY_ALARM_MS,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
        )

    def _watch_errors(self) -> None:
        self._alarm(
            "errors",
            "errors of the API",
            f"The API answered {ERRORS_ALARM} times or more within five minutes with 5xx.",
            [self._args.topic_arn],
            namespace="AWS/ApiGateway",
            metric_name="5XXError",
            dimensions={"ApiName": self.api.name, "Stage": self.stage.stage_name},
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            threshold=ERRORS_ALARM,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
        )

    def _throttle(self) -> None:
        """The outer fuse; each caller's own limits are the plan's, and the router's."""
        before: list[pulumi.Resource] = []
        for number, (path, (rate, burst)) in enumerate(names.THROTTLES.items()):
            made = aws.apigateway.MethodSettings(
                f"{self._name}-throttle{number or ''}",
                rest_api=self.api.id,
                stage_name=self.stage.stage_name,
                method_path=path,
                settings={"throttling_rate_limit": rate, "throttling_burst_limit": burst},
                # API Gateway refuses two changes of a stage at the same time.
                opts=self._child(depends_on=before[-1:]),
            )
            before.append(made)

    def _limit_callers(self) -> None:
        """What one caller may have, by the key that the authorizer names: beyond it API Gateway
        answers 429 by itself, and charges nothing.
        """
        plan = aws.apigateway.UsagePlan(
            f"{self._name}-callers",
            name=f"tl-fif-{self._args.stack}",
            api_stages=[{"api_id": self.api.id, "stage": self.stage.stage_name}],
            throttle_settings={
                "rate_limit": names.CALLER_THROTTLE[0],
                "burst_limit": names.CALLER_THROTTLE[1],
            },
            quota_settings={"limit": names.CALLER_REQUESTS_PER_DAY, "period": "DAY"},
            opts=self._child(),
        )
        for number in range(callers.KEYS):
            key_name = callers.name(self._args.stack, number)
            key = aws.apigateway.ApiKey(
                f"{self._name}-caller{number}",
                name=key_name,
                value=callers.value(key_name),
                opts=self._child(),
            )
            aws.apigateway.UsagePlanKey(
                f"{self._name}-caller{number}-plan",
                key_id=key.id,
                key_type="API_KEY",
                usage_plan_id=plan.id,
                opts=self._child(),
            )


def _body(name: str, values: Mapping[str, str], vpc_only_cidrs: Sequence[str]) -> str:
    spec = render(OPENAPI.read_text(), values)
    return fenced(
        spec, name, *resource_policies.vpc_only_routes(vpc_only_paths(spec), vpc_only_cidrs)
    )


def _cost_lines(requests: int) -> list[CostLine]:
    log_gb, key = requests * ACCESS_LOG_GB, "costs:requestsPerMonth"
    return [
        pricing.line("REST request", requests, "API requests", resource=billed.STAGE, key=key),
        pricing.line("trace", requests, "API traces", resource=billed.STAGE),
        pricing.line("log ingestion", log_gb, "access logs", resource=billed.LOG_GROUP),
    ]

"""The job queue: a private, encrypted ElastiCache group without cluster mode."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import billed, pricing
from components.access import QueueFields
from components.component import Component
from components.prices import cache_item
from components.pricing import CostLine
from components.settings import QueueSettings
from tlfif import names

# Engine to version and parameter family. Both have Lua, streams and BLMOVE; Valkey 8 is what Redis
# 7 became.
ENGINES = {"valkey": ("8.1", "valkey8"), "redis": ("7.1", "redis7")}


@dataclass(frozen=True, kw_only=True)
class QueueArgs:
    """`subnet_id` and `security_group_id` are where its nodes are; `topic_arn` hears when their
    memory fills.
    """

    settings: QueueSettings
    subnet_id: pulumi.Input[str]
    security_group_id: pulumi.Input[str]
    topic_arn: pulumi.Input[str]


class Queue(Component):
    """One node, or one and its replicas; a replication group even then, as only those encrypt at
    rest.
    """

    def __init__(
        self, name: str, args: QueueArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self.group = self._create_group()
        self._bill(_cost_line(args.settings))
        # A node's own id: on the group's no data ever comes.
        self.node_ids = [
            pulumi.Output.concat(self.group.id, f"-{number:03}")
            for number in range(1, 2 + args.settings.replicas)
        ]
        for number, node_id in enumerate(self.node_ids, 1):
            self._watch_memory(number, node_id)
        self.host = self.group.primary_endpoint_address
        self.fields: QueueFields = {
            "redis_host": self.host,
            "redis_port": self.group.port.apply(str),
        }
        self.register_outputs({"host": self.host})

    def _create_group(self) -> aws.elasticache.ReplicationGroup:
        settings = self._args.settings
        version, family = ENGINES[settings.engine]
        return aws.elasticache.ReplicationGroup(
            f"{self._name}-group",
            description="tl-fif job queue",
            engine=settings.engine,
            engine_version=version,
            node_type=settings.node_type,
            port=names.REDIS_PORT,
            num_cache_clusters=1 + settings.replicas,
            automatic_failover_enabled=settings.replicas > 0,
            multi_az_enabled=False,
            cluster_mode="disabled",
            at_rest_encryption_enabled=True,
            transit_encryption_enabled=False,
            parameter_group_name=self._create_parameters(family).name,
            subnet_group_name=self._create_subnets().name,
            security_group_ids=[self._args.security_group_id],
            apply_immediately=True,
            # Jobs live five minutes: a snapshot of them is worth nothing, and costs.
            snapshot_retention_limit=0,
            opts=self._child(),
        )

    def _create_subnets(self) -> aws.elasticache.SubnetGroup:
        return aws.elasticache.SubnetGroup(
            f"{self._name}-subnets",
            description="tl-fif queue",
            subnet_ids=[self._args.subnet_id],
            opts=self._child(),
        )

    def _create_parameters(self, family: str) -> aws.elasticache.ParameterGroup:
        # Every key has a TTL, so the default policy (volatile-lru) would drop accepted jobs when
        # memory is full; refused, they become a 503 that the caller sees.
        return aws.elasticache.ParameterGroup(
            f"{self._name}-parameters",
            family=family,
            description="tl-fif queue",
            parameters=[{"name": "maxmemory-policy", "value": "noeviction"}],
            opts=self._child(),
        )

    def _watch_memory(self, number: int, node_id: pulumi.Output[str]) -> None:
        self._alarm(
            f"memory-{number}",
            f"memory of queue node {number}",
            "The queue's memory is 70 % full; when it is full, jobs are refused.",
            [self._args.topic_arn],
            namespace="AWS/ElastiCache",
            metric_name="DatabaseMemoryUsagePercentage",
            dimensions={"CacheClusterId": node_id},
            statistic="Maximum",
            period=60,
            evaluation_periods=2,
            threshold=names.MEMORY_LIMIT_PERCENT,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
        )


def _cost_line(settings: QueueSettings) -> CostLine:
    nodes = 1 + settings.replicas
    counted = f"{nodes} {settings.engine} node{'s' if nodes > 1 else ''}"
    return pricing.line(
        cache_item(settings.engine, settings.node_type),
        pricing.HOURS * nodes,
        f"queue: {counted} {settings.node_type}",
        resource=billed.CACHE,
        key="queue:nodeType, queue:engine",
    )

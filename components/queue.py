"""The job queue: a private, encrypted ElastiCache group without cluster mode."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import pricing
from components.alerts import Alerts
from components.network import Network
from components.settings import QueueSettings
from tlfif.names import REDIS_PORT

# Engine to version and parameter family. Both have Lua, streams and BLMOVE; Valkey 8 is what Redis
# 7 became.
ENGINES = {"valkey": ("8.1", "valkey8"), "redis": ("7.1", "redis7")}

MEMORY_ALARM_PERCENT = 70


@dataclass(frozen=True, kw_only=True)
class QueueArgs:
    settings: QueueSettings
    network: Network
    alerts: Alerts


class Queue(pulumi.ComponentResource):
    """One node, or one and its replicas; a replication group even then, as only those encrypt at
    rest.
    """

    def __init__(
        self, name: str, args: QueueArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:Queue", name, None, opts)
        self._name, self._args = name, args
        child = pulumi.ResourceOptions(parent=self)
        settings, network = args.settings, args.network
        version, family = ENGINES[settings.engine]
        subnets = aws.elasticache.SubnetGroup(
            f"{name}-subnets",
            description="tl-fif queue",
            subnet_ids=[network.queue_subnet.id],
            opts=child,
        )
        # Every key has a TTL, so the default policy (volatile-lru) would drop accepted jobs when
        # memory is full; refused, they become a 503 that the caller sees.
        parameters = aws.elasticache.ParameterGroup(
            f"{name}-parameters",
            family=family,
            description="tl-fif queue",
            parameters=[{"name": "maxmemory-policy", "value": "noeviction"}],
            opts=child,
        )
        self.group = aws.elasticache.ReplicationGroup(
            f"{name}-group",
            description="tl-fif job queue",
            engine=settings.engine,
            engine_version=version,
            node_type=settings.node_type,
            port=REDIS_PORT,
            num_cache_clusters=1 + settings.replicas,
            automatic_failover_enabled=settings.replicas > 0,
            multi_az_enabled=False,
            cluster_mode="disabled",
            at_rest_encryption_enabled=True,
            transit_encryption_enabled=False,
            parameter_group_name=parameters.name,
            subnet_group_name=subnets.name,
            security_group_ids=[network.queue_group.id],
            apply_immediately=True,
            # Jobs live five minutes: a snapshot of them is worth nothing, and costs.
            snapshot_retention_limit=0,
            opts=child,
        )
        nodes = 1 + settings.replicas
        for number in range(1, nodes + 1):
            self._create_memory_alarm(number)
        self.cost_lines = [
            pricing.line(
                pricing.cache_item(settings.engine, settings.node_type),
                pricing.HOURS * nodes,
                f"queue: {nodes} {settings.engine} node{'s' if nodes > 1 else ''} {settings.node_type}",
                resource=pricing.CACHE,
                key="queue:nodeType, queue:engine",
            ),
            pricing.line("alarm", nodes, "alarm: the queue's memory", resource=pricing.ALARM),
        ]
        self.host = self.group.primary_endpoint_address
        self.port = self.group.port.apply(str)
        self.told = {"redis_host": self.host, "redis_port": self.port}
        self.register_outputs({"host": self.host})

    def _create_memory_alarm(self, number: int) -> None:
        topic = self._args.alerts.topic.arn
        aws.cloudwatch.MetricAlarm(
            f"{self._name}-memory-{number}",
            alarm_description="The queue's memory is 70 % full; when it is full, jobs are refused.",
            namespace="AWS/ElastiCache",
            metric_name="DatabaseMemoryUsagePercentage",
            # The node's own id: on the group's no data ever comes.
            dimensions={"CacheClusterId": pulumi.Output.concat(self.group.id, f"-{number:03}")},
            statistic="Maximum",
            period=60,
            evaluation_periods=2,
            threshold=MEMORY_ALARM_PERCENT,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[topic],
            ok_actions=[topic],
            opts=pulumi.ResourceOptions(parent=self),
        )

"""The program: settings, then the components in the order a request meets them, then the stack's
outputs.
"""

import pulumi
import pulumi_aws as aws

from components import costs, quota, surfaces
from components.access import FleetAccess
from components.alerts import Alerts, AlertsArgs
from components.component import alarms_of
from components.cost_publisher import CostPublisher, CostPublisherArgs
from components.cpu_worker import CpuWorker, CpuWorkerArgs
from components.dashboard import Dashboard, Shown
from components.delivery import Delivery, DeliveryArgs
from components.gateway import Gateway, GatewayArgs
from components.gpu_image import GpuImage, GpuImageArgs
from components.gpu_node import GpuNodes, GpuNodesArgs
from components.guardian import Guardian, GuardianArgs
from components.guardrails import Guardrails, GuardrailsArgs
from components.health import Health, HealthArgs
from components.identity import Identity, IdentityArgs
from components.lambda_function import VpcPlacement
from components.meter import Meter, MeterArgs
from components.model_weights import STATUS, ModelWeights, ModelWeightsArgs
from components.naming import fit_everything
from components.network import Network, NetworkArgs
from components.node_image import find_image
from components.queue import Queue, QueueArgs
from components.queue_health import QueueHealth, QueueHealthArgs
from components.router import Router, RouterArgs
from components.settings import Settings
from components.storage import Storage, StorageArgs
from components.tagging import tag_everything
from components.tariff import TariffArgs, TariffObject
from components.tls_ingress import TlsIngress, TlsIngressArgs
from components.watch import Watch, WatchArgs
from tlfif.names import ENV_TAG, ENV_VALUE, STACK_TAG

settings = Settings.load()
region, stack = settings.region, pulumi.get_stack()
account_id = aws.get_caller_identity().account_id
fit_everything(pulumi.get_project(), stack, f"{account_id}/{region}")
tag_everything({ENV_TAG: ENV_VALUE, STACK_TAG: stack})

network = Network(
    "network", NetworkArgs(region=region, gpu_instance_type=settings.gpu.instance_type)
)
protection = IdentityArgs(deletion_protection=settings.gateway.deletion_protection)
identity = Identity("identity", protection)
storage = Storage("storage", StorageArgs(requests_per_month=settings.costs.requests_per_month))
lane_weights = settings.model.lane
weights = (
    ModelWeights(
        "model-weights",
        ModelWeightsArgs(stack=stack, weights=lane_weights, replies_bucket=storage.replies),
    )
    if lane_weights
    else None
)
piped = settings.delivery.has_pipeline
alerts = Alerts("alerts", AlertsArgs(settings=settings.alerts, account_id=account_id, events=piped))
queue = Queue(
    "queue",
    QueueArgs(
        settings=settings.queue,
        subnet_id=network.queue_subnet.id,
        security_group_id=network.queue_group.id,
        topic_arn=alerts.topic_arn,
    ),
)

vpc = VpcPlacement(
    subnet_id=network.lambda_subnet.id,
    security_group_id=network.lambda_group.id,
    ways=network.function_ways,
)
fleet = FleetAccess(
    region=region,
    account_id=account_id,
    stack=stack,
    gpu=settings.gpu,
    cpu=settings.cpu,
    queue=queue.fields,
    replies_bucket=storage.replies,
)
router = Router(
    "router",
    RouterArgs(
        settings=settings,
        fleet=fleet,
        vpc=vpc,
        user_pool_id=identity.user_pool.id,
        client_id=identity.client.id,
    ),
)
lane = (
    CpuWorker(
        "cpu-worker",
        CpuWorkerArgs(settings=settings, weights=lane_weights, fleet=fleet, vpc=vpc),
    )
    if settings.cpu.enabled and lane_weights
    else None
)
queue_health = QueueHealth(
    "queue-health",
    QueueHealthArgs(stack=stack, queue=queue.fields, vpc=vpc, topic_arn=alerts.topic_arn),
)
gateway = Gateway(
    "gateway",
    GatewayArgs(
        region=region,
        stack=stack,
        router=router.function,
        queue_health=queue_health.function,
        user_pool_id=identity.user_pool.id,
        client_id=identity.client.id,
        replies_bucket=storage.replies,
        vpc_only_cidrs=[network.vpc.ipv6_cidr_block, *settings.gateway.extra_ping_cidrs],
        manage_account=settings.gateway.manage_account,
        requests_per_month=settings.costs.requests_per_month,
        topic_arn=alerts.topic_arn,
    ),
)
health = Health(
    "health",
    HealthArgs(
        settings=settings.gateway,
        region=region,
        stack=stack,
        api_url=gateway.url,
        queue_health=queue_health.function,
        network=network,
        vpc=vpc,
        replies_bucket=storage.replies,
        topic_arns=[alerts.pager_arn, alerts.topic_arn],
        deployed_by_pipeline=piped,
    ),
)

quota.check(settings.gpu, region)
baking_args = GpuImageArgs(
    settings=settings,
    region=region,
    stack=stack,
    network=network,
    subnet_id=network.node_subnet_ids[0],
    replies_bucket=storage.replies,
)
baking = GpuImage("gpu-image", baking_args) if settings.gpu.has_nodes else None
image = find_image(settings, stack)
node_args = GpuNodesArgs(
    settings=settings.gpu,
    model=settings.model,
    eur_per_hour=settings.gpu_eur_per_hour,
    region=region,
    stack=stack,
    ami_id=image.ami_id,
    image_gb=settings.costs.image_gb,
    queue=queue.fields,
    replies_bucket=storage.replies,
    subnet_ids=network.node_subnet_ids,
    security_group_id=network.node_group.id,
    ways=network.node_ways,
)
nodes = GpuNodes("gpu-node", node_args) if settings.gpu.has_nodes else None
tls = (
    TlsIngress(
        "tls",
        TlsIngressArgs(domain=settings.gpu.domain, network=network, node_addresses=nodes.addresses),
    )
    if nodes and settings.gpu.tls_ingress
    else None
)
guardian = Guardian("guardian", GuardianArgs(fleet=fleet, vpc=vpc, topic_arn=alerts.topic_arn))
guardrails = Guardrails(
    "guardrails",
    GuardrailsArgs(
        fleet=fleet,
        vpc=vpc,
        cap_usd=settings.cap_usd,
        by_tag=settings.budget.scope == "tag",
        topic_arn=alerts.topic_arn,
        stop_arn=alerts.stop_arn,
        failure_arns=[alerts.topic_arn, alerts.pager_arn],
    ),
)
publisher = CostPublisher(
    "cost-publisher",
    CostPublisherArgs(
        settings=settings,
        stack=stack,
        account_id=account_id,
        budget_name=guardrails.budget.name,
        bucket=storage.replies,
        gateway=gateway,
        topic_arn=alerts.topic_arn,
        stop_topic_arn=alerts.stop_arn,
    ),
)

watch = Watch(
    "watch",
    WatchArgs(
        stack=stack,
        cap_eur=settings.budget.cap_eur,
        topic_arn=alerts.topic_arn,
        stop_topic_arn=alerts.stop_arn,
    ),
)
router_arn = router.function.function.arn
probe_arn = health.probe.function.arn if health.probe else None
recipe_version = baking.recipe_version if baking else None
delivery = (
    Delivery(
        "delivery",
        DeliveryArgs(
            settings=settings,
            region=region,
            account_id=account_id,
            stack=stack,
            router=router.function,
            probe_arn=probe_arn,
            api_name=gateway.api.name,
            stage_name=gateway.stage.stage_name,
            outputs={
                "api_url": gateway.url,
                "user_pool_id": identity.user_pool.id,
                "user_pool_client_id": identity.client.id,
                "router_arn": router_arn,
                "probe_arn": probe_arn,
                "image_recipe_version": recipe_version,
            },
            topic_arn=alerts.topic_arn,
        ),
    )
    if piped and probe_arn
    else None
)
counted = [storage, weights, router, lane, queue_health, gateway, health, baking, guardian]
# The last function: it counts what the others use.
meter = Meter(
    "meter",
    MeterArgs(
        stack=stack,
        counted=[*counted, guardrails, publisher, delivery],
        gateway=gateway,
        replies_bucket=storage.replies,
        topic_arn=alerts.topic_arn,
    ),
)
watched = [queue, queue_health, gateway, health, guardian, guardrails, watch, publisher, meter]
watched += [delivery] if delivery else []
dashboard = Dashboard(
    "dashboard",
    Shown(
        region=region,
        stack=stack,
        api=gateway.api.name,
        stage=gateway.stage.stage_name,
        queue_nodes=queue.node_ids,
        nodes=nodes.instance_ids if nodes else [],
        alarms=alarms_of(watched),
    ),
)

parts = [network, identity, storage, weights, alerts, *watched, router]
bill = costs.summarise(settings, [*parts, lane, baking, nodes, tls, dashboard])
costs.report(bill)
TariffObject(
    "tariff",
    TariffArgs(
        settings=settings,
        stack=stack,
        bucket=storage.replies,
        rows=bill.rows,
        worst_usd_per_hour=surfaces.unseen_usd_per_hour(settings, bill.rows),
    ),
)

pulumi.export("api_url", gateway.url)
pulumi.export("ping_url", pulumi.Output.concat(health.url, "/ping"))
pulumi.export("queue_health_url", pulumi.Output.concat(health.url, "/queue-health"))
pulumi.export("user_pool_id", identity.user_pool.id)
pulumi.export("user_pool_client_id", identity.client.id)
pulumi.export("redis_endpoint", queue.host)
pulumi.export("replies_bucket", storage.bucket.bucket)
pulumi.export(STATUS, weights.status if weights else None)
pulumi.export("gpu_instance_ids", nodes.instance_ids if nodes else [])
pulumi.export("tls_host", tls.host if tls else None)
pulumi.export("alerts_topic_arn", alerts.topic_arn)
pulumi.export("dashboard_url", dashboard.url)
pulumi.export("guardian_arn", guardian.function.function.arn)
pulumi.export("router_arn", router_arn)
pulumi.export("probe_arn", probe_arn)
pulumi.export("image_recipe_version", recipe_version)
pulumi.export("pipeline_name", delivery.pipeline.name if delivery else None)
pulumi.export("artifacts_bucket", delivery.artifacts.bucket.bucket if delivery else None)
pulumi.export("deploy_alarms", delivery.alarm_names if delivery else [])
pulumi.export("next_step", image.next_step)

"""The program: settings, then the components in the order a request meets them, then the stack's
outputs.
"""

import pulumi
import pulumi_aws as aws

from components import costs
from components.alerts import Alerts, AlertsArgs
from components.fleet import Fleet
from components.gateway import Gateway, GatewayArgs
from components.gpu_image import GpuImage, GpuImageArgs
from components.gpu_node import GpuNodes, GpuNodesArgs
from components.guardrails import Guardrails, GuardrailsArgs
from components.health import Health, HealthArgs
from components.identity import Identity
from components.lambda_function import VpcPlacement
from components.network import Network, NetworkArgs
from components.queue import Queue, QueueArgs
from components.router import Router, RouterArgs
from components.settings import Settings
from components.storage import Storage, StorageArgs
from components.tagging import tag_everything
from components.tls_ingress import TlsIngress, TlsIngressArgs
from tlfif.names import ENV_TAG, ENV_VALUE, STACK_TAG

settings = Settings.load()
stack = pulumi.get_stack()
account_id = aws.get_caller_identity().account_id
tag_everything({ENV_TAG: ENV_VALUE, STACK_TAG: stack})

network = Network(
    "network", NetworkArgs(region=settings.region, gpu_instance_type=settings.gpu.instance_type)
)
identity = Identity("identity")
storage = Storage("storage", StorageArgs(requests_per_month=settings.costs.requests_per_month))
alerts = Alerts("alerts", AlertsArgs(settings=settings.alerts, account_id=account_id))
queue = Queue("queue", QueueArgs(settings=settings.queue, network=network, alerts=alerts))
vpc = VpcPlacement(subnet_id=network.lambda_subnet.id, security_group_id=network.lambda_group.id)
fleet = Fleet(
    settings=settings, stack=stack, account_id=account_id, queue=queue, storage=storage, vpc=vpc
)
router = Router("router", RouterArgs(fleet=fleet, identity=identity))
gateway = Gateway(
    "gateway",
    GatewayArgs(
        settings=settings, stack=stack, identity=identity, router=router.function, queue=queue, vpc=vpc,
        storage=storage, network=network, alerts=alerts,
    ),
)  # fmt: skip
checks = HealthArgs(
    settings=settings,
    stack=stack,
    gateway=gateway,
    network=network,
    vpc=vpc,
    storage=storage,
    alerts=alerts,
)
health = Health("health", checks)
image = GpuImage(
    "gpu-image",
    GpuImageArgs(ami_id=settings.gpu.ami_id, stack=stack, image_gb=settings.costs.image_gb),
)
nodes = GpuNodes(
    "gpu-node",
    GpuNodesArgs(
        settings=settings,
        stack=stack,
        ami_id=image.ami_id,
        queue=queue,
        storage=storage,
        network=network,
    ),
)
ingress = TlsIngressArgs(domain=settings.gpu.domain, network=network, instances=nodes.instances)
tls = TlsIngress("tls", ingress) if settings.gpu.tls_ingress else None
guardrails = Guardrails("guardrails", GuardrailsArgs(fleet=fleet, alerts=alerts))

parts = [
    network,
    identity,
    storage,
    alerts,
    queue,
    router,
    gateway,
    health,
    image,
    nodes,
    guardrails,
]
parts += [tls] if tls else []
bill = costs.summarise(settings, parts)
costs.report(bill)

pulumi.export("api_url", gateway.url)
pulumi.export("ping_url", pulumi.Output.concat(health.url, "/ping"))
pulumi.export("queue_health_url", pulumi.Output.concat(health.url, "/queue-health"))
pulumi.export("user_pool_id", identity.user_pool.id)
pulumi.export("user_pool_client_id", identity.client.id)
pulumi.export("redis_endpoint", queue.host)
pulumi.export("replies_bucket", storage.bucket.bucket)
pulumi.export("gpu_instance_ids", nodes.instance_ids)
pulumi.export("tls_host", tls.host if tls else None)
pulumi.export("alerts_topic_arn", alerts.topic.arn)
pulumi.export("next_step", image.next_step)

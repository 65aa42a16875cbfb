"""The GPU nodes: stopped until work comes, reached by nobody, and able to stop themselves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import billed, iam, prices, pricing
from components.access import QueueFields
from components.component import Component, ServiceRole
from components.pricing import CostLine
from components.settings import GpuSettings, ModelSettings
from components.storage import RepliesBucket
from tlfif import environment
from tlfif.names import (
    ENV_TAG,
    ENV_VALUE,
    FOREIGN_TAGS,
    NAMESPACE_GPU,
    STACK_TAG,
    node_parameter,
)

# What the provider changes in place by stopping the instance and starting it, a stopped one too
# (a disk it can only make larger): another instance takes its place.
REPLACED = ["instanceType", "rootBlockDevice"]
# The same of what a node has for life; a node stays in the zone that it was made in; and tags that
# others set are theirs.
IGNORED = [
    "userData",
    "subnetId",
    *(f'{tags}["{key}"]' for tags in ("tags", "tagsAll", "volumeTags") for key in FOREIGN_TAGS),
]
# One request for the node's whole life: EC2 stops such an instance instead of deleting it, and only
# such a one can be stopped and started by us. Without a highest price, the on-demand price is that.
SPOT: aws.ec2.InstanceInstanceMarketOptionsArgsDict = {
    "market_type": "spot",
    "spot_options": {
        "spot_instance_type": "persistent",
        "instance_interruption_behavior": "stop",
    },
}


@dataclass(frozen=True, kw_only=True)
class GpuNodesArgs:
    """`ami_id` is None before there is an image, which fills `image_gb` GB of a disk.

    `eur_per_hour` is what a node costs while it runs.

    `queue` says where the queue is, `subnet_ids` (taken in turns, a zone each) and
    `security_group_id` are where the nodes are, and `ways` what must be there before they boot.
    """

    settings: GpuSettings
    model: ModelSettings
    eur_per_hour: float
    region: str
    stack: str
    ami_id: str | None
    image_gb: int
    queue: QueueFields
    replies_bucket: RepliesBucket
    subnet_ids: Sequence[pulumi.Input[str]]
    security_group_id: pulumi.Input[str]
    ways: Sequence[pulumi.Resource]


class GpuNodes(Component):
    """`gpu:count` instances, or none before there is an image; they share a role, and each may stop
    only itself.
    """

    def __init__(
        self, name: str, args: GpuNodesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self._parameter = self._create_parameter()
        granted = self._create_role()
        self.role = granted.role
        profile = aws.iam.InstanceProfile(
            f"{name}-profile", role=self.role.name, opts=self._child()
        )
        # A new instance boots at once: what it reads must be there, and its way out, which must
        # not go before it either: then nothing would stop it.
        self._first = [self._parameter, *granted.policies, *args.ways]
        count = args.settings.count if args.ami_id else 0
        self.instances = [self._create_instance(number, profile) for number in range(count)]
        self.instance_ids = [instance.id for instance in self.instances]
        self.addresses = [instance.private_ip for instance in self.instances]
        self._bill(*_cost_lines(args, count))
        self.register_outputs({"instance_ids": self.instance_ids})

    def _create_parameter(self) -> aws.ssm.Parameter:
        """What the watcher reads at each boot. Not user data, by which the provider would start
        the node.
        """
        return aws.ssm.Parameter(
            f"{self._name}-settings",
            name=node_parameter(self._args.stack),
            type="String",
            # Nothing in it is secret: a preview may show what changes.
            insecure_value=pulumi.Output.json_dumps(self._configuration()),
            description="What the GPU nodes are told; read at each boot",
            opts=self._child(),
        )

    def _create_role(self) -> ServiceRole:
        bucket = self._args.replies_bucket.arn
        return self._role(
            "ec2.amazonaws.com",
            iam.read_parameter(self._parameter.arn),
            iam.read_replies(bucket),
            iam.write_replies(bucket),
            iam.see_missing(bucket),
            iam.put_metrics(NAMESPACE_GPU),
            iam.leave_secrets(),
            # Session Manager is the only way in; there is no key pair and no open port.
            managed={"ssm": "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"},
        )

    def _create_instance(self, number: int, profile: aws.iam.InstanceProfile) -> aws.ec2.Instance:
        args, spot = self._args, self._args.settings.spot
        name = f"{self._name}-spot-{number}" if spot else f"{self._name}-{number}"
        tags = {
            ENV_TAG: ENV_VALUE,
            STACK_TAG: args.stack,
            "Name": f"tl-fif-{args.stack}-node-{number}",
        }
        instance = aws.ec2.Instance(
            # The provider does not see that an instance is to be spot no more (its issue 38141): by
            # another name it is another instance.
            name,
            ami=args.ami_id,
            instance_type=args.settings.instance_type,
            instance_market_options=SPOT if spot else None,
            iam_instance_profile=profile.name,
            subnet_id=args.subnet_ids[number % len(args.subnet_ids)],
            vpc_security_group_ids=[args.security_group_id],
            # For the watcher; cloud-init ignores it.
            user_data=json.dumps(environment.NodeIdentity.variables(stack=args.stack)),
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",
                "http_put_response_hop_limit": 1,
            },
            root_block_device=_disk(args.settings),
            # A `shutdown` on the node must never delete it.
            instance_initiated_shutdown_behavior="stop",
            tags=tags,
            # EC2 does not hand an instance's tags on to its disk, which is what costs while it is
            # stopped.
            volume_tags=tags,
            opts=self._child(
                depends_on=self._first, ignore_changes=IGNORED, replace_on_changes=REPLACED
            ),
        )
        own = iam.stop_self(instance.arn, args.stack)
        self._grant(f"{name}-stop-self", self.role, own)
        return instance

    def _configuration(self) -> dict[str, pulumi.Input[str]]:
        args = self._args
        return environment.Node.variables(
            stack=args.stack,
            region=args.region,
            **args.queue,
            replies_bucket=args.replies_bucket.name,
            model=args.model.served_name,
            gpu_slots=args.settings.slots,
            idle_minutes=args.settings.idle_minutes,
            max_lifetime_hours=args.settings.max_lifetime_hours,
            boot_allowance_minutes=args.settings.boot_allowance_minutes,
            gpu_eur_per_hour=round(args.eur_per_hour, 4),
            context_tokens=args.model.context_length,
        )


def _disk(settings: GpuSettings) -> aws.ec2.InstanceRootBlockDeviceArgs:
    """A node's disk; without its throughput where that is gp3's own, as disks had it before there
    was a key for it: another value would replace each of them.
    """
    mbps = settings.disk_throughput_mbps
    return aws.ec2.InstanceRootBlockDeviceArgs(
        volume_type="gp3",
        volume_size=settings.disk_gb,
        throughput=mbps if mbps > prices.FREE_THROUGHPUT_MBPS else None,
        encrypted=True,
    )


def _cost_lines(args: GpuNodesArgs, count: int) -> list[CostLine]:
    """Disks and image cost money all the time; the rest is for each hour that one node runs."""
    lines = pricing.gpu_hour_lines(args.settings.instance_type)
    if args.settings.spot:
        lines += pricing.spot_hour_lines(args.settings.instance_type)
    if args.ami_id:
        # The bake makes the snapshot, not this program; it is paid for as long as there is an
        # image.
        image, key = "image of the nodes", "costs:imageGb"
        lines.append(_at_rest("EBS snapshot", args.image_gb, image, key))
        disks = args.settings.disk_gb * count
        lines.append(_at_rest("gp3 volume", disks, "disks of the nodes", "gpu:diskGb"))
        if mbps := (args.settings.disk_throughput_mbps - prices.FREE_THROUGHPUT_MBPS) * count:
            what, key = "throughput of the nodes' disks", "gpu:diskThroughputMbps"
            lines.append(_at_rest("gp3 throughput", mbps, what, key))
    return lines


def _at_rest(item: str, quantity: int, what: str, key: str) -> CostLine:
    return pricing.line(item, quantity, what, resource=billed.INSTANCE, key=key)

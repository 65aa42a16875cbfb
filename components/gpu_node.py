"""The GPU nodes: stopped until work comes, reached by nobody, and able to stop themselves."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam, pricing
from components.network import Network
from components.pricing import CostLine
from components.queue import Queue
from components.settings import GpuSettings, Settings
from components.storage import Storage
from tlfif import environment
from tlfif.names import ENV_TAG, ENV_VALUE, NAMESPACE_GPU, SERVED_MODEL, STACK_TAG


@dataclass(frozen=True, kw_only=True)
class GpuNodesArgs:
    settings: Settings
    stack: str
    ami_id: str | None
    queue: Queue
    storage: Storage
    network: Network


class GpuNodes(pulumi.ComponentResource):
    """`gpu:count` instances, or none before there is an image; they share a role, and each may stop
    only itself.
    """

    def __init__(
        self, name: str, args: GpuNodesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("tl-fif:components:GpuNodes", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self.role = self._create_role()
        profile = aws.iam.InstanceProfile(f"{name}-profile", role=self.role.name, opts=self._child)
        count = args.settings.gpu.count if args.ami_id else 0
        self.instances = [self._create_instance(number, profile) for number in range(count)]
        self.instance_ids = [instance.id for instance in self.instances]
        self.cost_lines = _cost_lines(args.settings.gpu, count)
        self.register_outputs({"instance_ids": self.instance_ids})

    def _create_role(self) -> aws.iam.Role:
        role = aws.iam.Role(
            f"{self._name}-role",
            assume_role_policy=pulumi.Output.json_dumps(
                iam.document(iam.trust("ec2.amazonaws.com"))
            ),
            opts=self._child,
        )
        statements = [
            iam.read_replies(self._args.storage.bucket.arn),
            iam.write_replies(self._args.storage.bucket.arn),
            iam.see_missing_replies(self._args.storage.bucket.arn),
            iam.put_metrics(NAMESPACE_GPU),
        ]
        self._policy("work", role, *statements)
        # Session Manager is the only way in; there is no key pair and no open port.
        aws.iam.RolePolicyAttachment(
            f"{self._name}-ssm",
            role=role.name,
            policy_arn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
            opts=self._child,
        )
        return role

    def _policy(self, what: str, role: aws.iam.Role, *statements: iam.Statement) -> None:
        aws.iam.RolePolicy(
            f"{self._name}-{what}",
            role=role.name,
            policy=pulumi.Output.json_dumps(iam.document(*statements)),
            opts=self._child,
        )

    def _create_instance(self, number: int, profile: aws.iam.InstanceProfile) -> aws.ec2.Instance:
        args = self._args
        tags = {
            ENV_TAG: ENV_VALUE,
            STACK_TAG: args.stack,
            "Name": f"tl-fif-{args.stack}-node-{number}",
        }
        instance = aws.ec2.Instance(
            f"{self._name}-{number}",
            ami=args.ami_id,
            instance_type=args.settings.gpu.instance_type,
            iam_instance_profile=profile.name,
            subnet_id=args.network.node_subnet.id,
            vpc_security_group_ids=[args.network.node_group.id],
            user_data=pulumi.Output.json_dumps(self._configuration()),
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",
                "http_put_response_hop_limit": 1,
            },
            root_block_device={
                "volume_type": "gp3",
                "volume_size": args.settings.gpu.disk_gb,
                "encrypted": True,
            },
            # A `shutdown` on the node must never delete it.
            instance_initiated_shutdown_behavior="stop",
            tags=tags,
            # EC2 does not hand an instance's tags on to its disk, which is what costs while it is
            # stopped.
            volume_tags=tags,
            opts=self._child,
        )
        self._policy(f"{number}-stop-self", self.role, iam.stop_self(instance.arn, args.stack))
        return instance

    def _configuration(self) -> dict[str, pulumi.Input[str]]:
        """What the watcher reads from the instance's user data at each boot; cloud-init ignores it."""
        settings = self._args.settings
        return environment.Node.variables(
            **self._args.queue.told,
            stack=self._args.stack,
            region=settings.region,
            replies_bucket=self._args.storage.bucket.bucket,
            model=SERVED_MODEL,
            gpu_slots=settings.gpu.slots,
            idle_minutes=settings.gpu.idle_minutes,
            max_lifetime_hours=settings.gpu.max_lifetime_hours,
        )


def _cost_lines(settings: GpuSettings, count: int) -> list[CostLine]:
    """The disks cost money all the time; the rest is for each hour that one node runs."""
    disks = pricing.line(
        "gp3 volume",
        settings.disk_gb * count,
        "disks of the nodes",
        resource=pricing.INSTANCE,
        key="gpu:diskGb",
    )
    return [*([disks] if count else []), *pricing.gpu_hour_lines(settings.instance_type)]

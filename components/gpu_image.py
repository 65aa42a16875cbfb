"""The image of the nodes: what AWS Image Builder bakes it from. `make bake` starts a bake."""

import hashlib
import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import billed, iam, pricing
from components.component import Component, ServiceRole
from components.network import HTTP, HTTPS, Address, Network, Peer
from components.packages import ROOT
from components.settings import Settings
from components.settings_errors import SettingsError
from components.software import Software, zipped
from components.storage import RepliesBucket
from tlfif import names

DOCUMENT = ROOT / "gpu_image" / "component.yaml"
# CreateComponent's limit for a document that comes with the request (botocore's model of it).
MAX_DOCUMENT_CHARACTERS = 16_000
# x86_64, as the nodes are: an image of another processor would not boot on them.
BUILDER = "m7i.large"
PARENT, ROOT_DEVICE = "ubuntu-server-22-lts-x86", "/dev/sda1"
LOG_DAYS = 30
# EC2-002's budget of a build, and what a boot of the new image to test it adds.
BUILD_MINUTES = 12
# Each part of a version may be as large (CreateComponent's reference).
_LARGEST_PART = 2**30 - 1
_BUILD_DATE = "{{ imagebuilder:buildDate }}"
_AWS = "arn:aws:iam::aws:policy"


@dataclass(frozen=True, kw_only=True)
class GpuImageArgs:
    """`network` opens the builder's way out, and `subnet_id` is where it works; the bucket has the
    software.
    """

    settings: Settings
    region: str
    stack: str
    network: Network
    subnet_id: pulumi.Input[str]
    replies_bucket: RepliesBucket


class GpuImage(Component):
    """Component, recipe, infrastructure, distribution and pipeline; none of them costs anything
    until a bake is started, which no schedule does.

    Image Builder changes neither a component nor a recipe: other content is another version of
    another name, made before the last is deleted, because the pipeline has the last until then.
    """

    def __init__(
        self, name: str, args: GpuImageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self._count(log_group=names.image_log_group(args.stack))
        self._log_group = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=names.image_log_group(args.stack),
            retention_in_days=LOG_DAYS,
            opts=self._child(),
        )
        recipe = self._create_recipe(document(DOCUMENT.read_text()), zipped())
        self.recipe_version = recipe.version
        self.pipeline = self._create_pipeline(recipe)
        self._bill(*_cost_lines(args.settings))
        self.register_outputs({"pipeline_arn": self.pipeline.arn})

    def _create_recipe(self, text: str, software: Software) -> aws.imagebuilder.ImageRecipe:
        args = self._args
        place = self._upload(software)
        parameters = {
            "Software": pulumi.Output.concat("s3://", place.bucket, "/", place.key),
            "SoftwareSha256": software.sha256,
            "Model": args.settings.model.served.model_dump_json(),
        }
        disk: aws.imagebuilder.ImageRecipeBlockDeviceMappingEbsArgsDict = {
            "volume_type": "gp3",
            "volume_size": args.settings.gpu.disk_gb,
            # With EBS's own key, which every node may use.
            "encrypted": "true",
            "delete_on_termination": "true",
        }
        parent = f"arn:aws:imagebuilder:{args.region}:aws:image/{PARENT}/x.x.x"
        # Without the bucket's name, which is AWS's to give, it is known in a preview.
        decides = (text, software.sha256, parameters["Model"], json.dumps(disk), parent)
        component = self._create_component(text)
        return aws.imagebuilder.ImageRecipe(
            f"{self._name}-recipe",
            version=version(*decides),
            parent_image=parent,
            components=[
                {
                    "component_arn": component.arn,
                    "parameters": [
                        {"name": each, "value": value} for each, value in parameters.items()
                    ],
                }
            ],
            block_device_mappings=[{"device_name": ROOT_DEVICE, "ebs": disk}],
            # Session Manager is the only way into a node: its agent stays.
            systems_manager_agent={"uninstall_after_build": False},
            opts=self._child(),
        )

    def _create_component(self, text: str) -> aws.imagebuilder.Component:
        return aws.imagebuilder.Component(
            f"{self._name}-component",
            platform="Linux",
            version=version(text),
            data=text,
            description="Driver, engine, weights and software of a GPU node",
            opts=self._child(),
        )

    def _upload(self, software: Software) -> aws.s3.BucketObjectv2:
        """Puts the software where the builder finds it, by its content."""
        return aws.s3.BucketObjectv2(
            f"{self._name}-software",
            bucket=self._args.replies_bucket.name,
            key=f"{names.SOFTWARE}/{software.sha256}.zip",
            source=pulumi.FileAsset(software.path.relative_to(ROOT).as_posix()),
            opts=self._child(),
        )

    def _create_role(self) -> ServiceRole:
        bucket = self._args.replies_bucket.arn
        return self._role(
            "ec2.amazonaws.com",
            iam.read_software(bucket),
            iam.see_missing(bucket),
            iam.leave_secrets(),
            managed={
                # Get its component, and write its log.
                "baking": f"{_AWS}/EC2InstanceProfileForImageBuilder",
                # Image Builder works on the instance by Systems Manager.
                "ssm": f"{_AWS}/AmazonSSMManagedInstanceCore",
            },
        )

    def _create_infrastructure(self) -> aws.imagebuilder.InfrastructureConfiguration:
        args, granted = self._args, self._create_role()
        profile = aws.iam.InstanceProfile(
            f"{self._name}-profile", role=granted.role.name, opts=self._child()
        )
        group, ways = self._allow_builder()
        return aws.imagebuilder.InfrastructureConfiguration(
            f"{self._name}-builder",
            instance_types=[BUILDER],
            instance_profile_name=profile.name,
            subnet_id=args.subnet_id,
            security_group_ids=[group],
            instance_metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1},
            terminate_instance_on_failure=True,
            # Not the stack's tag: together they would make it one of the nodes that are started
            # and stopped.
            resource_tags={names.ENV_TAG: names.ENV_VALUE, "Name": f"tl-fif-{args.stack}-builder"},
            # Whoever starts a bake finds all that the builder needs.
            opts=self._child(depends_on=[*granted.policies, *ways]),
        )

    def _allow_builder(self) -> tuple[pulumi.Output[str], list[pulumi.Resource]]:
        """The builder's group: nobody may connect to it, and it to whoever has what it installs."""
        network = self._args.network
        group = network.group("builder", "builds the image of the nodes; nobody may connect to it")
        everywhere: dict[str, Address] = {
            "ipv4": {"cidr_ipv4": "0.0.0.0/0"},
            "ipv6": {"cidr_ipv6": "::/0"},
        }
        for family, address in everywhere.items():
            network.allow(group, Peer(f"https-{family}", address), HTTPS, "APIs of AWS, packages")
            packages = Peer(f"http-{family}", address)
            network.allow(group, packages, HTTP, "packages of Ubuntu, which are signed")
        return group.id, network.public_ways(group)

    def _create_distribution(
        self, recipe: aws.imagebuilder.ImageRecipe
    ) -> aws.imagebuilder.DistributionConfiguration:
        stack = self._args.stack
        tags = {
            names.ENV_TAG: names.ENV_VALUE,
            names.STACK_TAG: stack,
            names.IMAGE_TAG: stack,
            names.IMAGE_VERSION_TAG: recipe.version,
            names.IMAGE_DATE_TAG: _BUILD_DATE,
            "Name": names.image_pipeline(stack),
        }
        return aws.imagebuilder.DistributionConfiguration(
            f"{self._name}-distribution",
            distributions=[
                {
                    "region": self._args.region,
                    "ami_distribution_configuration": {
                        "name": f"{names.image_pipeline(stack)}-{_BUILD_DATE}",
                        "ami_tags": tags,
                    },
                }
            ],
            opts=self._child(),
        )

    def _create_pipeline(
        self, recipe: aws.imagebuilder.ImageRecipe
    ) -> aws.imagebuilder.ImagePipeline:
        return aws.imagebuilder.ImagePipeline(
            f"{self._name}-pipeline",
            # By this name `make bake` finds it.
            name=names.image_pipeline(self._args.stack),
            image_recipe_arn=recipe.arn,
            infrastructure_configuration_arn=self._create_infrastructure().arn,
            distribution_configuration_arn=self._create_distribution(recipe).arn,
            # They would boot the image on a machine that is no node, and such a one ends itself.
            image_tests_configuration={"image_tests_enabled": False},
            # A list of installed packages, which takes minutes.
            enhanced_image_metadata_enabled=False,
            # Image Builder would make groups of its own, which keep everything.
            logging_configuration={
                "image_log_group_name": self._log_group.name,
                "pipeline_log_group_name": self._log_group.name,
            },
            opts=self._child(),
        )


def version(*contents: str) -> str:
    """A version that these texts alone decide, as Image Builder numbers them: 1.0.<their hash>."""
    digest = hashlib.sha256("\0".join(contents).encode()).digest()
    return f"1.0.{int.from_bytes(digest[:8]) % _LARGEST_PART}"


def document(text: str) -> str:
    """The component's document, if Image Builder takes it. Raises SettingsError."""
    if len(text) > MAX_DOCUMENT_CHARACTERS:
        raise SettingsError(
            f"gpu_image/component.yaml has {len(text)} characters, and Image Builder takes "
            f"{MAX_DOCUMENT_CHARACTERS}: move what its steps do to scripts below gpu_image/bake/"
        )
    return text


def _cost_lines(settings: Settings) -> list[pricing.CostLine]:
    """The builder, while it works; the image is billed with the nodes that boot it."""
    hours = settings.costs.bakes_per_month * BUILD_MINUTES / 60
    what, key = "bakes of the image", "costs:bakesPerMonth"
    return [pricing.line(BUILDER, hours, what, resource=billed.IMAGE_PIPELINE, key=key)]

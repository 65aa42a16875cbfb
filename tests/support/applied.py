"""Stacks that the real provider applies to moto, and what stands in for the little moto has not."""

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.aws.moto import Moto
from local.machine.ports import LOOPBACK, free_port, listening
from local.machine.processes import Processes
from recording.applying import Change
from recording.model import ACCOUNT_ID
from recording.terraform import REATTACH, find_provider

Json = dict[str, Any]

# Types of which moto has no operation that the provider needs, and that operation; Terraform's own
# `terraform_data` takes their place, with their attributes, order and references.
MISSING = {
    "aws_elasticache_parameter_group": ("elasticache", "CreateCacheParameterGroup"),
    "aws_elasticache_subnet_group": ("elasticache", "DeleteCacheSubnetGroup"),
    "aws_elasticache_replication_group": ("elasticache", "ModifyReplicationGroup"),
    "aws_cloudwatch_query_definition": ("logs", "PutQueryDefinition"),
    "aws_imagebuilder_component": ("imagebuilder", "CreateComponent"),
    "aws_imagebuilder_distribution_configuration": (
        "imagebuilder",
        "CreateDistributionConfiguration",
    ),
    "aws_imagebuilder_image_pipeline": ("imagebuilder", "CreateImagePipeline"),
    "aws_imagebuilder_image_recipe": ("imagebuilder", "CreateImageRecipe"),
    "aws_imagebuilder_infrastructure_configuration": (
        "imagebuilder",
        "CreateInfrastructureConfiguration",
    ),
    "aws_synthetics_canary": ("synthetics", "DeleteCanary"),
}

# What moto alone tells otherwise than it was told, and the provider wants to correct each time.
ONLY_MOTO = {
    ("aws_instance", "vpc_security_group_ids"): "it tells no groups of an interface of our own",
    ("aws_vpc_security_group_egress_rule", "description"): "it drops that of a new rule to a group",
    ("aws_vpc_security_group_ingress_rule", "description"): "it drops that of a new rule, too",
}


def differences(planned: Mapping[str, Change]) -> dict[str, list[str]]:
    """Address to the attributes that would change, without those that ONLY_MOTO has.

    A resource that would be made, replaced or deleted is there whatever its attributes.
    """
    found = {
        address: [name for name in change.differing if (_type(address), name) not in ONLY_MOTO]
        for address, change in planned.items()
    }
    return {
        address: attributes
        for address, attributes in found.items()
        if attributes or planned[address].actions != ["update"]
    }


def _type(address: str) -> str:
    return address.partition(".")[0]


def stood_in(configuration: Json) -> Json:
    """The configuration with `terraform_data` in place of every type that is MISSING."""
    resources = configuration["resource"]
    used = _used(json.dumps(configuration))
    stand_ins = {
        name: _stand_in(body, used.get(f"{type_}.{name}", set()))
        for type_ in MISSING
        for name, body in resources.get(type_, {}).items()
    }
    kept = {type_: named for type_, named in resources.items() if type_ not in MISSING}
    whole = {**configuration, "resource": {**kept, "terraform_data": stand_ins}}
    return json.loads(_renamed(json.dumps(whole)))


def _used(text: str) -> dict[str, set[str]]:
    """Address to the attributes that anything refers to."""
    found: dict[str, set[str]] = {}
    for address, attribute in re.findall(rf"\b((?:{'|'.join(MISSING)})\.[\w-]+)\.(\w+)", text):
        found.setdefault(address, set()).add(attribute)
    return found


def _stand_in(body: Mapping[str, Any], used: set[str]) -> Json:
    options = {key: body[key] for key in ("depends_on", "lifecycle") if key in body}
    options.get("lifecycle", {}).pop("ignore_changes", None)
    own = {key: value for key, value in body.items() if key not in options}
    return {**options, "input": {**{name: f"stand-in-{name}" for name in sorted(used)}, **own}}


def _renamed(text: str) -> str:
    types = "|".join(MISSING)
    text = re.sub(rf"\b(?:{types})\.([\w-]+)\.(\w+)", r"terraform_data.\1.output.\2", text)
    return re.sub(rf"\b(?:{types})\.([\w-]+)", r"terraform_data.\1", text)


async def start_fuller_moto(procs: Processes, region: str, name: str) -> Moto:
    """Starts `support.fuller_moto` for one account; raises ProcessError."""
    port = free_port()
    no_images = procs.log_dir / "moto-images.json"
    no_images.write_text("[]")
    argv = [sys.executable, "-m", "support.fuller_moto", "-H", LOOPBACK, "-p", str(port)]
    env = {
        **os.environ,
        "MOTO_AMIS_PATH": str(no_images),
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "MOTO_ACCOUNT_ID": ACCOUNT_ID,
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
    await procs.start(f"fuller-moto-{name}", argv, env=env, ready=listening(port))
    return Moto(f"http://{LOOPBACK}:{port}", region)


async def start_provider(procs: Processes, plugins: Path, url: str, folder: Path) -> str:
    """Starts the provider that is found there, for the Terraform of this folder and with `url` for
    AWS: what Terraform(attached=...) wants. Raises ProcessError.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_"))}
    env = {**kept, "AWS_ENDPOINT_URL": url, "GOGC": "400"}
    name = f"provider-{folder.name}"
    log = procs.log_dir / f"{name}.log"

    def said() -> list[str]:
        return re.findall(rf"{REATTACH}='(.+)'\n", log.read_text())

    async def ready() -> bool:
        return bool(said())

    # Its log is a file: while tests run, nobody would read a pipe, and it would wait for ever.
    argv = [str(find_provider(plugins)), "-debug"]
    # Paths to bundles are relative.
    await procs.start(name, argv, env=env, cwd=folder, ready=ready, timeout=120)
    return said()[0]

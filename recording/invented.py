"""What AWS would add to each resource, invented: ids, ARNs and endpoints that are the same in every
run.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.runtime import MockCallArgs, MockResourceArgs

from recording.kinds import kind_of
from recording.model import ACCOUNT_ID, AMI_ID
from tlfif.names import AMI_PARAMETER

# Enough for the most nodes that a stack can have.
QUOTA_VCPUS = 32


def _filled(shape: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(shape, list):
        return [_filled(item, known) for item in shape]
    if isinstance(shape, dict):
        return {key: _filled(item, known) for key, item in shape.items()}
    return shape.format(**known)


def invented(type_: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """What AWS would add to a resource of a type, from what is known of it (see Kind.shape)."""
    shape = kind_of(type_).shape
    made: dict[str, Any] = {}
    # An id may be made of an ARN, or an ARN of an id.
    for key in sorted(shape, key=lambda key: "{id}" in shape[key] or "{arn}" in shape[key]):
        made[key] = _filled(shape[key], {**known, **made})
    return made


class RecordingBackend:
    """Makes nothing: invents ids, ARNs and endpoints that look like AWS's and are the same in every
    run.

    `parameters` is what the SSM parameter store holds; by default an image was baked.
    """

    def __init__(
        self, stack: str, region: str, *, parameters: Mapping[str, str] | None = None
    ) -> None:
        self._stack, self._region = stack, region
        baked = {AMI_PARAMETER: AMI_ID, f"{AMI_PARAMETER}-{stack}": AMI_ID}
        self._parameters = baked if parameters is None else parameters

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if not args.custom:
            return None, {}
        known = self._known(args)
        made = invented(args.typ, known)
        return made["id"], {**args.inputs, "name": known["name"], **made}

    def _known(self, args: MockResourceArgs) -> dict[str, Any]:
        digest = hashlib.sha256(f"{self._stack}/{args.typ}/{args.name}".encode()).hexdigest()
        autoname = f"{pulumi.get_project()}-{self._stack}-{args.name}-{digest[:7]}"
        given = args.inputs.get(kind_of(args.typ).name_property) or args.inputs.get("name")
        return {
            **args.inputs,
            "name": given or autoname,
            "hex": digest,
            "region": self._region,
            "account": ACCOUNT_ID,
        }

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        match args.token:
            case "aws:index/getCallerIdentity:getCallerIdentity":
                root = f"arn:aws:iam::{ACCOUNT_ID}:root"
                return {"accountId": ACCOUNT_ID, "arn": root, "userId": ACCOUNT_ID}
            case "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings":
                return {"locations": self.zones_offering(args.args)}
            case "pulumi:pulumi:readStackOutputs":
                return {"outputs": {}}
            case "aws:ssm/getParametersByPath:getParametersByPath":
                found = self.parameters_below(args.args["path"])
                return {"names": list(found), "values": list(found.values())}
            case "aws:servicequotas/getServiceQuota:getServiceQuota":
                return {**args.args, "value": QUOTA_VCPUS}
        raise LookupError(
            f"the program asks AWS {args.token} with {args.args}, "
            "to which there is no recorded answer"
        )

    def zones_offering(self, question: Mapping[str, Any]) -> list[str]:
        """The zones that have what `question` filters for, not sorted (as EC2 answers)."""
        return [f"{self._region}{letter}" for letter in "dbac"]

    def parameters_below(self, path: str) -> dict[str, str]:
        """The parameters below a path, by name."""
        below = f"{path}/"
        return {name: value for name, value in self._parameters.items() if name.startswith(below)}

"""The Pulumi back end of the local cloud: the program's resources become real ones in moto and in
Valkey.
"""

from collections.abc import Mapping
from typing import Any

from pulumi.runtime import MockResourceArgs

from components.naming import stack_name
from local.aws.moto import Moto
from local.deployment.resources import Resources
from local.machine.valkey import Configurable
from recording import kinds
from recording.invented import RecordingBackend
from tlfif.names import AMI_PARAMETER


def bake(moto: Moto, stack: str) -> None:
    """Leaves behind what a bake of the stack's image would."""
    moto.publish_image(stack_name(AMI_PARAMETER, stack))


class LocalBackend(RecordingBackend):
    """Give it to `recording.evaluate`; it calls moto from Pulumi's worker threads.

    `api_url` is where the local gateway will listen, the stage's `invokeUrl`; `resources` is what
    makes each.
    """

    def __init__(self, stack: str, moto: Moto, queue: Configurable, *, api_url: str | None = None):
        super().__init__(stack, moto.region)
        self.region = moto.region
        self._moto = moto
        self.resources = Resources(moto, queue, api_url=api_url)
        self._queues: list[str] = []

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """Makes one resource. Raises LookupError for a type that is in no table."""
        id_, recorded = super().new_resource(args)
        if not args.custom:
            return id_, recorded
        if args.typ == kinds.elasticache.REPLICATION_GROUP.token:
            self._claim_queue(args.name)
        name = recorded["name"]
        made = self.resources.create(args.typ, name, args.inputs, recorded)
        return made["id"], {**args.inputs, "name": name, **made}

    def _claim_queue(self, name: str) -> None:
        self._queues.append(name)
        if len(self._queues) > 1:
            raise ValueError(
                f"the local cloud has one Valkey: {self._queues[0]} uses it already, {name} cannot"
            )

    def zones_offering(self, question: Mapping[str, Any]) -> list[str]:
        filters = [{"Name": each["name"], "Values": each["values"]} for each in question["filters"]]
        found = self._moto.client("ec2").describe_instance_type_offerings(
            LocationType=question["locationType"], Filters=filters
        )
        return [each["Location"] for each in found["InstanceTypeOfferings"]]

    def parameters_below(self, path: str) -> dict[str, str]:
        found = self._moto.client("ssm").get_parameters_by_path(Path=path)["Parameters"]
        return {each["Name"]: each["Value"] for each in found}

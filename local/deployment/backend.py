"""The Pulumi back end of the local cloud: the program's resources become real ones in moto and in
Valkey.
"""

from collections.abc import Mapping
from typing import Any

from pulumi.runtime import MockResourceArgs

from components.naming import stack_name
from local.aws.moto import Moto
from local.deployment.kinds import MAKERS
from local.machine.valkey import Valkey
from recording import kinds
from recording.invented import RecordingBackend
from tlfif.names import AMI_PARAMETER

# maxmemory of a node in bytes, of which ElastiCache's reserved-memory-percent is kept from the
# data.
_NODE_MEMORY = {"cache.t4g.micro": 536_870_912, "cache.t4g.small": 1_471_026_299}
_RESERVED_PERCENT = 25


class LocalBackend(RecordingBackend):
    """Give it to `recording.evaluate`; it calls moto from Pulumi's worker threads.

    `api_url` is where the local gateway will listen, the stage's `invokeUrl`. An image counts as
    baked.
    """

    def __init__(self, stack: str, moto: Moto, valkey: Valkey, *, api_url: str | None = None):
        super().__init__(stack, moto.region)
        self._moto = moto
        self._valkey = valkey
        self._api_url = api_url
        self._queue: str | None = None
        self._parameters_of: dict[str, dict[str, str]] = {}
        moto.publish_image(stack_name(AMI_PARAMETER, stack))

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """Makes one resource. Raises LookupError for a type that is in no table."""
        id_, recorded = super().new_resource(args)
        if not args.custom:
            return id_, recorded
        if args.typ not in kinds.KINDS:
            raise LookupError(
                f"the local cloud cannot make {args.typ} ({args.name}): add it to recording/kinds/"
                " with a maker in local/deployment/kinds/, or with what emulates it, or why it is"
                " inert"
            )
        name = recorded["name"]
        if kinds.KINDS[args.typ].made:
            # Nothing invented may pass for real: of the recording's, only the name is kept.
            made = MAKERS[args.typ](self._moto, name, args.inputs)
            return made["id"], {**args.inputs, "name": name, **made}
        return id_, {**recorded, **self._emulated(args, name)}

    def _emulated(self, args: MockResourceArgs, name: str) -> dict[str, Any]:
        """Notes what the local cloud emulates it by; returns in what it differs from its
        recording.
        """
        match args.typ:
            case kinds.apigateway.STAGE.token if self._api_url:
                return {"invokeUrl": self._api_url}
            case kinds.elasticache.PARAMETER_GROUP.token:
                parameters = args.inputs.get("parameters", ())
                self._parameters_of[name] = {each["name"]: each["value"] for each in parameters}
            case kinds.elasticache.REPLICATION_GROUP.token:
                return self._use_valkey(args)
        return {}

    def _use_valkey(self, args: MockResourceArgs) -> dict[str, Any]:
        if self._queue is not None:
            raise ValueError(
                f"the local cloud has one Valkey: {self._queue} uses it already, {args.name} cannot"
            )
        self._queue = args.name
        parameters = self._parameters_of.get(args.inputs.get("parameterGroupName", ""), {})
        settings: dict[str, Any] = dict(parameters)
        memory = _NODE_MEMORY.get(args.inputs["nodeType"])
        if memory is not None:
            settings["maxmemory"] = memory * (100 - _RESERVED_PERCENT) // 100
        self._valkey.configure(**settings)
        return {"primaryEndpointAddress": self._valkey.host, "port": self._valkey.port}

    def zones_offering(self, question: Mapping[str, Any]) -> list[str]:
        filters = [{"Name": each["name"], "Values": each["values"]} for each in question["filters"]]
        found = self._moto.client("ec2").describe_instance_type_offerings(
            LocationType=question["locationType"], Filters=filters
        )
        return [each["Location"] for each in found["InstanceTypeOfferings"]]

    def parameters_below(self, path: str) -> dict[str, str]:
        found = self._moto.client("ssm").get_parameters_by_path(Path=path)["Parameters"]
        return {each["Name"]: each["Value"] for each in found}

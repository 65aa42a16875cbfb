"""The Pulumi back end of the local cloud: the program's resources become real ones in moto and in
Valkey.
"""

from typing import Any

from pulumi.runtime import MockCallArgs, MockResourceArgs

from components.naming import stack_name
from local.aws.moto import Moto
from local.deployment.resources import CREATORS
from local.machine.valkey import Valkey
from recording.invented import RecordingBackend
from tlfif.names import AMI_PARAMETER

# What the local cloud itself does by what is recorded; ids and ARNs are the recording's.
EMULATED = {
    "aws:apigateway/deployment:Deployment": "local/apigateway/ serves the API as it is declared",
    "aws:apigateway/methodSettings:MethodSettings": "local/apigateway/ throttles by it",
    "aws:apigateway/restApi:RestApi": "local/apigateway/ serves its OpenAPI body",
    "aws:apigateway/restApiPolicy:RestApiPolicy": "local/apigateway/ evaluates it",
    "aws:apigateway/stage:Stage": "local/apigateway/ serves it",
    "aws:elasticache/parameterGroup:ParameterGroup": "its parameters are set in Valkey with the group that names it",
    "aws:lambda/alias:Alias": "the function host runs one version",
    "aws:lambda/function:Function": "local/lambda_/ runs its bundle",
    "aws:lambda/permission:Permission": "the local cloud calls functions itself",
    "aws:sns/topicSubscription:TopicSubscription": "moto would deliver to real addresses; nothing leaves this machine",
}
# What does nothing here.
INERT = {
    "aws:apigateway/account:Account": "the role of API Gateway's logs; the local gateway needs none",
    "aws:cloudwatch/queryDefinition:QueryDefinition": "a saved query for the console; moto has no PutQueryDefinition",
    "aws:elasticache/subnetGroup:SubnetGroup": "Valkey listens on the loopback address",
    # With gpu:tlsIngress: nobody here connects to the nodes from outside, and moto has no TLS to
    # offer.
    "aws:acm/certificate:Certificate": "no connection here is made under the certificate's name",
    "aws:acm/certificateValidation:CertificateValidation": "nobody validates a certificate here",
    "aws:lb/listener:Listener": "a node's port 443 has no clients here",
    "aws:lb/loadBalancer:LoadBalancer": "a node's port 443 has no clients here",
    "aws:lb/targetGroup:TargetGroup": "a node's port 443 has no clients here",
    "aws:lb/targetGroupAttachment:TargetGroupAttachment": "a node's port 443 has no clients here",
    "aws:synthetics/canary:Canary": "a browser of AWS's; moto has no Synthetics, the probe function runs instead",
}

# maxmemory of a node in bytes, of which ElastiCache's reserved-memory-percent is kept from the
# data.
_NODE_MEMORY = {"cache.t4g.micro": 536_870_912, "cache.t4g.small": 1_471_026_299}
_RESERVED_PERCENT = 25

_REPLICATION_GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
_PARAMETER_GROUP = "aws:elasticache/parameterGroup:ParameterGroup"
_STAGE = "aws:apigateway/stage:Stage"


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
        """Makes one resource.

        Raises LookupError for a type that is in none of CREATORS, EMULATED and INERT.
        """
        id_, recorded = super().new_resource(args)
        if not args.custom:
            return id_, recorded
        if args.typ in CREATORS:
            # Nothing invented may pass for real: of the recording's, only the name is kept.
            made = CREATORS[args.typ](self._moto, recorded["name"], args.inputs)
            return made["id"], {**args.inputs, "name": recorded["name"], **made}
        if args.typ == _REPLICATION_GROUP:
            return id_, {**recorded, **self._use_valkey(args)}
        if args.typ not in EMULATED and args.typ not in INERT:
            raise LookupError(
                f"the local cloud cannot make {args.typ} ({args.name}): add it to CREATORS in local/deployment/resources.py, "
                "or with a reason to EMULATED or INERT in local/deployment/backend.py"
            )
        if args.typ == _PARAMETER_GROUP:
            self._parameters_of[recorded["name"]] = {
                p["name"]: p["value"] for p in args.inputs.get("parameters", ())
            }
        return id_, {
            **recorded,
            "invokeUrl": self._api_url,
        } if args.typ == _STAGE and self._api_url else recorded

    def _use_valkey(self, args: MockResourceArgs) -> dict[str, Any]:
        if self._queue is not None:
            raise ValueError(
                f"the local cloud has one Valkey: {self._queue} uses it already, {args.name} cannot"
            )
        self._queue = args.name
        settings: dict[str, Any] = dict(
            self._parameters_of.get(args.inputs.get("parameterGroupName", ""), {})
        )
        memory = _NODE_MEMORY.get(args.inputs["nodeType"])
        if memory is not None:
            settings["maxmemory"] = memory * (100 - _RESERVED_PERCENT) // 100
        self._valkey.configure(**settings)
        return {"primaryEndpointAddress": self._valkey.host, "port": self._valkey.port}

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        """Answers a provider function from moto, or as a recording does."""
        match args.token:
            case "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings":
                filters = [
                    {"Name": each["name"], "Values": each["values"]}
                    for each in args.args["filters"]
                ]
                found = self._moto.client("ec2").describe_instance_type_offerings(
                    LocationType=args.args["locationType"], Filters=filters
                )
                return {"locations": [each["Location"] for each in found["InstanceTypeOfferings"]]}
            case "aws:ssm/getParametersByPath:getParametersByPath":
                found = self._moto.client("ssm").get_parameters_by_path(Path=args.args["path"])[
                    "Parameters"
                ]
                return {
                    "names": [each["Name"] for each in found],
                    "values": [each["Value"] for each in found],
                }
        return super().call(args)

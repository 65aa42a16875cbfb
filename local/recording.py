"""Runs the real Pulumi program without the Pulumi CLI and records every resource that it declares."""

import asyncio
import contextvars
import hashlib
import json
import logging
import runpy
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import pulumi
import yaml
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks, rpc
from pulumi.runtime.mocks import MockMonitor, MockSettings
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.settings import get_project, get_stack

from tlfif.names import AMI_PARAMETER

ROOT = Path(__file__).resolve().parent.parent
ACCOUNT_ID = "123456789012"
AMI_ID = "ami-0f1f0f1f0f1f0f1f0"
_REGION = "us-east-1"
_STACK_TYPE = "pulumi:pulumi:Stack"


class Backend(Protocol):
    """What makes, or pretends to make, what the program declares.

    Called from several threads at once.
    """

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """The id and outputs of a new resource; None and {} for a component (`args.custom` is
        false).
        """
        ...

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        """The answer to a question the program asks AWS (`args.token`, `args.args`)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One declared resource; `inputs` and `outputs` have the provider's camelCase names,
    `dependencies` are URNs.
    """

    urn: str
    type: str
    name: str
    parent: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    id: str
    dependencies: list[str]
    custom: bool


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What one stack consists of: its resources, sorted by URN, and its outputs."""

    stack: str
    resources: list[Resource]
    outputs: dict[str, Any]

    def of_type(self, kind: str) -> list[Resource]:
        """All resources of one type, such as `aws:ec2/instance:Instance`."""
        return [resource for resource in self.resources if resource.type == kind]

    def one(self, kind: str, name: str | None = None) -> Resource:
        """The only resource of a type, or the one with that name; LookupError names what there is
        instead.
        """
        found = [resource for resource in self.of_type(kind) if name in (None, resource.name)]
        if len(found) != 1:
            names = ", ".join(resource.name for resource in self.of_type(kind)) or "none"
            raise LookupError(
                f"wanted one {kind}{f' named {name}' if name else ''}, of that type there are: {names}"
            )
        return found[0]


def evaluate(
    stack: str,
    backend: Backend | None = None,
    *,
    project_dir: Path = ROOT,
    config: Mapping[str, Any] | None = None,
) -> Recording:
    """Runs `project_dir`/__main__.py for `stack` on `backend` (default: RecordingBackend); returns
    what it declared.

    `config` overrides keys of Pulumi.<stack>.yaml; a group given as a mapping, key by key. Whatever
    the program or the back end raises is raised here. It has a thread and context of its own: call
    it again, or from a running event loop.
    """
    project = yaml.safe_load((project_dir / "Pulumi.yaml").read_text())["name"]
    settings = _merged(_stack_config(project_dir, stack), config or {})
    monitor = _Monitor(backend or RecordingBackend(stack, settings.get("aws:region", _REGION)))

    def run() -> None:
        asyncio.run(_run(project_dir, project, stack, settings, monitor))

    with ThreadPoolExecutor(1, thread_name_prefix="pulumi") as pool:
        pool.submit(contextvars.Context().run, run).result()
    resources = sorted(monitor.recorded, key=lambda resource: resource.urn)
    return Recording(stack=stack, resources=resources, outputs=monitor.stack_outputs)


def stacks(project_dir: Path = ROOT) -> list[str]:
    """The names of the stacks that have a configuration file."""
    return sorted(path.name.split(".")[1] for path in project_dir.glob("Pulumi.*.yaml"))


def stack_region(
    stack: str, *, project_dir: Path = ROOT, config: Mapping[str, Any] | None = None
) -> str:
    """The AWS region of a stack, as its file or `config` says."""
    return _merged(_stack_config(project_dir, stack), config or {}).get("aws:region", _REGION)


def _stack_config(project_dir: Path, stack: str) -> dict[str, Any]:
    path = project_dir / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no stack {stack!r}; there are: {', '.join(stacks(project_dir))}"
        )
    return (yaml.safe_load(path.read_text()) or {}).get("config", {})


def _merged(config: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(config)
    for key, value in override.items():
        mapped = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if mapped else value
    return merged


def _as_text(config: Mapping[str, Any]) -> dict[str, str]:
    """Values as the CLI hands them over: text as it is, everything else as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()
    }


async def _run(
    project_dir: Path, project: str, stack: str, config: Mapping[str, Any], monitor: "_Monitor"
) -> None:
    # One failure fails all that waits for it; `evaluate` raises the first, and asyncio need not log
    # the others.
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    # What the Pulumi language host does, with a monitor in this process in place of the engine's.
    pulumi.runtime.reset_options()
    MockSettings(
        project=project,
        stack=stack,
        root_directory=str(project_dir),
        monitor=monitor,
        engine=_Engine(),
        dry_run=False,
    )
    pulumi.runtime.set_all_config(_as_text(config))
    sys.path.insert(0, str(project_dir))
    try:
        await pulumi.runtime.run_in_stack(lambda: _ran(project_dir))
    finally:
        sys.path.remove(str(project_dir))


def _ran(project_dir: Path) -> None:
    runpy.run_path(str(project_dir / "__main__.py"), run_name="__main__")


class _Monitor(MockMonitor):
    """Pulumi's mock monitor, which also records: the back end itself never sees parents or
    dependencies.
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(cast(Mocks, backend))
        self.recorded: list[Resource] = []
        self.stack_outputs: dict[str, Any] = {}

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        """As the engine makes them: the types of all parents but the stack, so that equal names do
        not meet.
        """
        chain = parent.split("::")[2] if parent else _STACK_TYPE
        qualified = type_ if chain == _STACK_TYPE else f"{chain}${type_}"
        return "::".join([f"urn:pulumi:{get_stack()}", get_project(), qualified, name])

    # The engine calls these in worker threads. asyncio.run, because Pulumi's own way leaves an open
    # loop in each.

    def RegisterResource(self, request: Any) -> Any:
        if request.type == _STACK_TYPE:
            return super().RegisterResource(request)
        urn = self.make_urn(request.parent, request.type, request.name)
        inputs = _plain(rpc.deserialize_properties(request.object))
        made = MockResourceArgs(
            typ=request.type, name=request.name, inputs=inputs, custom=request.custom
        )
        id_, outputs = self.mocks.new_resource(made)
        self.recorded.append(
            Resource(
                urn=urn,
                type=request.type,
                name=request.name,
                parent=request.parent,
                inputs=inputs,
                outputs=outputs,
                id=id_ or "",
                dependencies=sorted(request.dependencies),
                custom=request.custom,
            )
        )
        properties = asyncio.run(rpc.serialize_properties(outputs, {}))
        return resource_pb2.RegisterResourceResponse(urn=urn, id=id_ or "", object=properties)

    def Invoke(self, request: Any) -> Any:
        question = MockCallArgs(
            request.tok, _plain(rpc.deserialize_properties(request.args)), request.provider
        )
        answer = asyncio.run(
            rpc.serialize_properties(cast(dict[str, Any], self.mocks.call(question)), {})
        )
        return resource_pb2.ResourceInvokeResponse(**cast(Any, {"return": answer}))

    def RegisterResourceOutputs(self, request: Any) -> Any:
        if f"::{_STACK_TYPE}::" in request.urn:
            self.stack_outputs = _plain(rpc.deserialize_properties(request.outputs))
        return super().RegisterResourceOutputs(request)


def _plain(value: Any) -> Any:
    """Values as the program wrote them: over the wire all numbers are floats.

    Archives become their paths.
    """
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, pulumi.FileArchive | pulumi.FileAsset):
        return value.path
    return value


class _Engine:
    """Where the program's messages go: to this module's logger."""

    def Log(self, request: Any) -> None:
        # Pulumi's severities are 0 to 3: debug, info, warning, error.
        logging.getLogger(__name__).log(10 * (1 + request.severity), request.message)


# What AWS would add to a resource of each type, by the provider's property names. Everything else
# echoes its inputs.
_EC2 = "arn:aws:ec2:{region}:{account}"
_LB = "arn:aws:elasticloadbalancing:{region}:{account}"
_RECORD = {
    "Name": "_{hex:.32}.{domainName}.",
    "Type": "CNAME",
    "Value": "_{hex:.32}.acm-validations.aws.",
}
_SHAPES: dict[str, dict[str, Any]] = {
    "aws:acm/certificate:Certificate": {
        "id": "{arn}",
        "arn": "arn:aws:acm:{region}:{account}:certificate/{hex:.32}",
        "domainValidationOptions": [
            {f"resourceRecord{part}": text for part, text in _RECORD.items()}
        ],
    },
    "aws:acm/certificateValidation:CertificateValidation": {"id": "{hex:.32}"},
    "aws:apigateway/restApi:RestApi": {
        "id": "{hex:.10}",
        "arn": "arn:aws:apigateway:{region}::/restapis/{id}",
        "executionArn": "arn:aws:execute-api:{region}:{account}:{id}",
        "rootResourceId": "{hex:.9}r",
    },
    "aws:apigateway/deployment:Deployment": {"id": "{hex:.6}"},
    "aws:apigateway/stage:Stage": {
        "id": "ags-{restApi}-{stageName}",
        "arn": "arn:aws:apigateway:{region}::/restapis/{restApi}/stages/{stageName}",
        "invokeUrl": "https://{restApi}.execute-api.{region}.amazonaws.com/{stageName}",
        "executionArn": "arn:aws:execute-api:{region}:{account}:{restApi}/{stageName}",
    },
    "aws:cloudwatch/eventRule:EventRule": {
        "id": "{name}",
        "arn": "arn:aws:events:{region}:{account}:rule/{name}",
    },
    "aws:cloudwatch/logGroup:LogGroup": {
        "id": "{name}",
        "arn": "arn:aws:logs:{region}:{account}:log-group:{name}",
    },
    "aws:cognito/userPool:UserPool": {
        "id": "{region}_{hex:.9}",
        "arn": "arn:aws:cognito-idp:{region}:{account}:userpool/{id}",
    },
    "aws:cognito/userPoolClient:UserPoolClient": {"id": "{hex:.26}"},
    "aws:ec2/egressOnlyInternetGateway:EgressOnlyInternetGateway": {"id": "eigw-{hex:.17}"},
    "aws:ec2/instance:Instance": {
        "id": "i-{hex:.17}",
        "arn": _EC2 + ":instance/{id}",
        "privateIp": "10.20.2.10",
    },
    "aws:ec2/internetGateway:InternetGateway": {
        "id": "igw-{hex:.17}",
        "arn": _EC2 + ":internet-gateway/{id}",
    },
    "aws:ec2/route:Route": {"id": "r-{hex:.17}"},
    "aws:ec2/routeTable:RouteTable": {"id": "rtb-{hex:.17}", "arn": _EC2 + ":route-table/{id}"},
    "aws:ec2/routeTableAssociation:RouteTableAssociation": {"id": "rtbassoc-{hex:.17}"},
    "aws:ec2/securityGroup:SecurityGroup": {
        "id": "sg-{hex:.17}",
        "arn": _EC2 + ":security-group/{id}",
    },
    "aws:ec2/subnet:Subnet": {"id": "subnet-{hex:.17}", "arn": _EC2 + ":subnet/{id}"},
    "aws:ec2/vpc:Vpc": {
        "id": "vpc-{hex:.17}",
        "arn": _EC2 + ":vpc/{id}",
        "ipv6CidrBlock": "2600:1f18:{hex:.4}:aa00::/56",
    },
    "aws:ec2/vpcEndpoint:VpcEndpoint": {
        "id": "vpce-{hex:.17}",
        "arn": _EC2 + ":vpc-endpoint/{id}",
        "prefixListId": "pl-{hex:.8}",
    },
    "aws:elasticache/replicationGroup:ReplicationGroup": {
        "id": "{name}",
        "arn": "arn:aws:elasticache:{region}:{account}:replicationgroup:{name}",
        "primaryEndpointAddress": "{name}.{hex:.6}.ng.0001.use1.cache.amazonaws.com",
    },
    "aws:iam/instanceProfile:InstanceProfile": {
        "id": "{name}",
        "arn": "arn:aws:iam::{account}:instance-profile/{name}",
    },
    "aws:iam/role:Role": {"id": "{name}", "arn": "arn:aws:iam::{account}:role/{name}"},
    "aws:lambda/alias:Alias": {
        "id": "{arn}",
        "arn": "arn:aws:lambda:{region}:{account}:function:{functionName}:{name}",
        "invokeArn": "arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations",
    },
    "aws:lambda/function:Function": {
        "id": "{name}",
        "arn": "arn:aws:lambda:{region}:{account}:function:{name}",
        "version": "1",
        "invokeArn": "arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations",
    },
    "aws:lb/listener:Listener": {"id": "{arn}", "arn": _LB + ":listener/net/{hex:.32}"},
    "aws:lb/loadBalancer:LoadBalancer": {
        "id": "{arn}",
        "arn": _LB + ":loadbalancer/net/{name}/{hex:.16}",
        "dnsName": "{name}-{hex:.16}.elb.{region}.amazonaws.com",
    },
    "aws:lb/targetGroup:TargetGroup": {"id": "{arn}", "arn": _LB + ":targetgroup/{name}/{hex:.16}"},
    "aws:s3/bucket:Bucket": {"id": "{name}", "bucket": "{name}", "arn": "arn:aws:s3:::{name}"},
    "aws:sns/topic:Topic": {"id": "{arn}", "arn": "arn:aws:sns:{region}:{account}:{name}"},
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": {"id": "sgr-{hex:.17}"},
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": {"id": "sgr-{hex:.17}"},
}


def _filled(shape: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(shape, list):
        return [_filled(item, known) for item in shape]
    if isinstance(shape, dict):
        return {key: _filled(item, known) for key, item in shape.items()}
    return shape.format(**known)


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
        shape = _SHAPES.get(args.typ, {"id": "{name}"})
        made: dict[str, Any] = {}
        # An id may be made of an ARN, or an ARN of an id.
        for key in sorted(shape, key=lambda key: "{id}" in shape[key] or "{arn}" in shape[key]):
            made[key] = _filled(shape[key], {**known, **made})
        return made["id"], {**args.inputs, "name": known["name"], **made}

    def _known(self, args: MockResourceArgs) -> dict[str, Any]:
        digest = hashlib.sha256(f"{self._stack}/{args.typ}/{args.name}".encode()).hexdigest()
        name = (
            args.inputs.get("name")
            or f"{pulumi.get_project()}-{self._stack}-{args.name}-{digest[:7]}"
        )
        return {
            **args.inputs,
            "name": name,
            "hex": digest,
            "region": self._region,
            "account": ACCOUNT_ID,
        }

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        match args.token:
            case "aws:index/getCallerIdentity:getCallerIdentity":
                return {
                    "accountId": ACCOUNT_ID,
                    "arn": f"arn:aws:iam::{ACCOUNT_ID}:root",
                    "userId": ACCOUNT_ID,
                }
            case "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings":
                return {"locations": [f"{self._region}b", f"{self._region}a"]}
            case "aws:ssm/getParametersByPath:getParametersByPath":
                found = {
                    k: v
                    for k, v in self._parameters.items()
                    if k.startswith(f"{args.args['path']}/")
                }
                return {"names": list(found), "values": list(found.values())}
        raise LookupError(
            f"the program asks AWS {args.token} with {args.args}, to which there is no recorded answer"
        )

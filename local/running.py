"""What a deployed stack does on this machine: functions, nodes, the API and schedules."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components import bundle
from local.apigateway.gateway import Gateway
from local.apigateway.model import FunctionError, InvocationRefused
from local.apigateway.spec import GatewaySpec
from local.aws.ec2 import Delays
from local.aws.endpoint import Endpoint
from local.aws.moto import Moto
from local.lambda_ import invocations, schedules
from local.lambda_.host import FunctionHost, runtime_dir
from local.lambda_.model import MAX_EVENT_AGE_S, RETRIES, FunctionSpec, LambdaApiError
from local.machine.processes import Processes
from local.monitoring.platform import Platform
from local.monitoring.stage import StageControl
from local.node.node import LocalNode
from recording import kinds
from recording.model import Recording, Resource
from tlfif import environment

FUNCTION = kinds.lambda_.FUNCTION.token
EVENTS = kinds.lambda_.EVENT_INVOKE_CONFIG.token
INSTANCE = kinds.ec2.INSTANCE.token
PARAMETER = kinds.ssm.PARAMETER.token
USER_POOL = kinds.cognito.USER_POOL.token
VPC = kinds.ec2.VPC.token
LANE = "cpu_worker"
_HASH = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How this machine differs from AWS: the gateway's port (0: any), the scaled clock, EC2's
    delays, processes.

    `tls`: whether nodes have nginx before their engine, as on AWS, where this machine has one.
    `lane`: whether there is the instant lane, and a hub with the local model's weights.
    `empty`: whether nothing is deployed at first. `baked`: whether there is an image for nodes.
    `engine`: whether Pulumi's own engine deploys, and
    not a recording of the program.
    `ec2_timeout_s` is how long router and cost publisher wait for AWS's APIs, which take longer on
    a loaded machine.
    `watcher` overrides what the watcher is told, by TLFIF_* names; `commands` are other programs
    of a node's than the usual ones (`local.node.node`).
    """

    stack: str = "dev"
    config: Mapping[str, Any] = field(default_factory=dict)
    lane: bool = False
    tls: bool = False
    empty: bool = False
    baked: bool = True
    engine: bool = False
    port: int = 0
    seconds_per_minute: float = 60.0
    delays: Delays = field(default_factory=Delays)
    workers: int = 2
    ec2_timeout_s: float = 3.0
    watcher: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a stack runs: this machine's parts of a local cloud.

    `log(source, line)` and `access_log(line)` take what is written, `progress(text)` what is up.
    """

    options: Options
    procs: Processes
    moto: Moto
    endpoint: Endpoint
    api_url: str
    vpc_url: str
    log: Callable[[str, str], None]
    access_log: Callable[[str], None]
    progress: Callable[[str], None]


class Front:
    """An ASGI app that can be exchanged while it is served; before the first there is nothing."""

    def __init__(self) -> None:
        self.app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.app is not None:
            await self.app(scope, receive, send)
            return
        head = {"type": "http.response.start", "status": 403, "headers": []}
        await send(head)
        await send({"type": "http.response.body", "body": b'{"message":"Forbidden"}'})


class Running:
    """`await running.deploy(recording)`, again and again: each replaces what ran before it.

    Nodes that are the same stay as they are, in the middle of their work.
    """

    def __init__(self, site: Site) -> None:
        self.hosts: dict[str, FunctionHost] = {}
        self.nodes: dict[str, LocalNode] = {}
        self.world, self.inside = Front(), Front()
        self.platform = Platform(
            site.moto,
            site.endpoint,
            lambda arn, event: self._host(arn).post(event),
            site.options.seconds_per_minute,
        )
        self._site = site
        self._stack = contextlib.AsyncExitStack()
        # Lambda's Invoke API, by name or ARN.
        site.endpoint.on_invoke = lambda name, payload, context: self._host(name).invoke(
            payload, client_context=context
        )
        site.endpoint.on_event = lambda name, payload, context: self._host(name).post(
            payload, client_context=context
        )

    async def deploy(self, recording: Recording, *, calls: bool) -> None:
        """Runs what a stack declares; `calls` says whether the calls that are part of its
        deployment are to be made here: the weights are there when it returns.
        """
        sources = [_source(each.inputs["handler"]) for each in recording.of_type(FUNCTION)]
        bundles = await asyncio.to_thread(build_bundles, sources)
        stack = contextlib.AsyncExitStack()
        try:
            hosts = self._functions(recording, bundles, stack)
            await self._start_functions(hosts, invocations.of(recording) if calls else [])
            fronts = self._gateway(recording, stack)
        except BaseException:
            await stack.aclose()
            raise
        old, self._stack = self._stack, stack
        self.hosts = hosts
        self.world.app, self.inside.app = fronts
        await old.aclose()
        self.platform.adopt(recording)
        await self._start_nodes(recording)
        await self._start_schedules(recording)

    async def close(self) -> None:
        """Ends everything; the API answers 403."""
        self.world.app = self.inside.app = None
        await self._stack.aclose()
        self._stack = contextlib.AsyncExitStack()
        self.hosts = {}
        for node in list(self.nodes.values()):
            await node.close()
        self.nodes.clear()

    # --- functions

    def _take_line(self, function: str, line: str) -> None:
        self._site.log(function, line)
        self.platform.wrote(function, line)

    def _functions(
        self,
        recording: Recording,
        bundles: Mapping[str, Path],
        stack: contextlib.AsyncExitStack,
    ) -> dict[str, FunctionHost]:
        scheduled = {each.function_arn for each in schedules.of(recording)}
        site, hosts = self._site, dict[str, FunctionHost]()
        asynchronous = {
            each.inputs["functionName"]: each.inputs for each in recording.of_type(EVENTS)
        }
        for resource in recording.of_type(FUNCTION):
            # A schedule's calls follow one another, and so do the instant lane's: a second process
            # would idle.
            alone = (
                resource.outputs["arn"] in scheduled or _source(resource.inputs["handler"]) == LANE
            )
            host = FunctionHost(
                site.procs,
                self._specification(resource, bundles, asynchronous),
                workers=1 if alone else site.options.workers,
                retry_s=site.options.seconds_per_minute,
                extra_env=self._platform(recording),
                on_log=self._take_line,
                on_call=self.platform.called,
            )
            hosts[resource.outputs["arn"]] = host
            stack.push_async_callback(host.stop)
        return hosts

    async def _start_functions(
        self, hosts: Mapping[str, FunctionHost], calls: Sequence[invocations.Call]
    ) -> None:
        # The lane's first call is a cold one on AWS, and it should cost nothing until then.
        cold = {each.function_arn for each in calls}
        cold |= {arn for arn, host in hosts.items() if _source(host.function.handler) == LANE}
        started = asyncio.gather(*(host.start() for arn, host in hosts.items() if arn not in cold))
        made = asyncio.gather(*(self._make(hosts[call.function_arn], call) for call in calls))
        await started
        self._site.progress(f"{len(hosts)} functions run from their bundles")
        await made

    async def _make(self, host: FunctionHost, call: invocations.Call) -> None:
        """A call that is part of the deployment; whatever comes of it, that goes on."""
        result = await host.invoke(call.payload)
        answer = json.loads(result.payload)
        what = _HASH.sub(r"\1…", answer.get("message") or answer.get("errorMessage", ""))
        self._site.progress(f"{host.function.name} was called: {what}")

    def _specification(
        self,
        resource: Resource,
        bundles: Mapping[str, Path],
        asynchronous: Mapping[str, Mapping[str, Any]],
    ) -> FunctionSpec:
        inputs = resource.inputs
        events = asynchronous.get(inputs["name"], {})
        age_s = events.get("maximumEventAgeInSeconds", MAX_EVENT_AGE_S)
        environment = inputs.get("environment", {}).get("variables", {})
        if inputs.get("vpcConfig"):
            environment = self._seen_from_vpc(environment)
        return FunctionSpec(
            name=inputs["name"],
            arn=resource.outputs["arn"],
            handler=inputs["handler"],
            zip_path=bundles[_source(resource.inputs["handler"])],
            environment=environment,
            timeout_s=inputs["timeout"],
            memory_mb=inputs["memorySize"],
            role_access_key=self._site.endpoint.credentials_for(inputs["role"]),
            retries=int(events.get("maximumRetryAttempts", RETRIES)),
            max_event_age_s=age_s / 60 * self._site.options.seconds_per_minute,
        )

    def _seen_from_vpc(self, declared: Mapping[str, str]) -> dict[str, str]:
        """The one exception to "the program's environment verbatim": a value that is the API's URL
        becomes the URL of the listener within the VPC.

        On AWS the VPC endpoint's private DNS does this: the same name leads to another address, by
        which the API knows that the caller is inside. Here the name is an address already.
        """
        inside = {self._site.api_url: self._site.vpc_url}
        return {name: inside.get(value, value) for name, value in declared.items()}

    def _platform(self, recording: Recording) -> dict[str, str]:
        """What a function is told beyond what the program declares: where AWS is here, and how fast
        minutes pass.
        """
        endpoint = self._site.endpoint
        return {
            "AWS_ENDPOINT_URL": endpoint.url,
            "TLFIF_JWKS_URL": endpoint.jwks_url(recording.one(USER_POOL).id),
            "TLFIF_SECONDS_PER_MINUTE": str(self._site.options.seconds_per_minute),
            "TLFIF_EC2_TIMEOUT_S": str(self._site.options.ec2_timeout_s),
            "TLFIF_PATIENCE_S": str(self._site.options.ec2_timeout_s),
        }

    # --- nodes

    async def _start_nodes(self, recording: Recording) -> None:
        declared = [each.id for each in recording.of_type(INSTANCE)]
        for instance_id in self.nodes.keys() - set(declared):
            await self.nodes.pop(instance_id).close()
        for instance_id in declared:
            if instance_id not in self.nodes:
                self.nodes[instance_id] = self._node(instance_id)
            # The watcher reads its own part from the parameter store, at each boot too.
            parameter = recording.one(PARAMETER, "gpu-node-settings")
            told = environment.Node.read(json.loads(parameter.inputs["insecureValue"]))
            node = self.nodes[instance_id]
            # A real node's image was baked with its model.
            node.slots, node.model = told.gpu_slots, told.model
            node.context_tokens = told.context_tokens

    def _node(self, instance_id: str) -> LocalNode:
        site = self._site
        node = LocalNode(
            site.procs,
            instance_id,
            imds_endpoint=site.endpoint.imds_url(instance_id),
            aws_endpoint=site.endpoint.url,
            environment={
                "TLFIF_SECONDS_PER_MINUTE": str(site.options.seconds_per_minute),
                **site.options.watcher,
            },
            commands=site.options.commands,
            tls=site.options.tls,
            on_line=lambda line: site.log("watcher", line),
            on_power_off=site.endpoint.instances.power_off,
        )
        site.endpoint.on_instance_state(node.on_state)
        if site.options.tls:
            site.endpoint.on_instance_state(self._say_where)
        return node

    def _say_where(self, instance_id: str, state: str) -> None:
        """Says at which address a node that boots is to be had by TLS, or why at none."""
        node = self.nodes.get(instance_id)
        if node is None or state != "running":
            return
        if node.proxy is None:
            self._site.progress(f"{instance_id} runs without TLS: nginx is not installed")
            return
        url, certificate = node.proxy.url, node.proxy.certificate
        self._site.progress(f"{instance_id}: curl --cacert {certificate} {url}/v1/models")

    # --- the API and the schedules

    def _gateway(self, recording: Recording, stack: contextlib.AsyncExitStack) -> tuple[Any, Any]:
        """The API as the world and as the VPC see it."""
        site = self._site
        spec = GatewaySpec.from_recording(recording, "gateway-api")
        gateway = Gateway(
            spec,
            invoke=self._invoke,
            aws_endpoint=site.endpoint.url,
            credentials_for=site.endpoint.credentials_for,
            access_log=self._take_access,
            answered=self.platform.answered,
        )
        stage = StageControl(spec.api_id, spec.stage, gateway.throttle)
        site.endpoint.answers["apigateway", "GetStage"] = stage.get
        site.endpoint.answers["apigateway", "UpdateStage"] = stage.update
        stack.push_async_callback(gateway.aclose)
        block = recording.one(VPC).outputs["ipv6CidrBlock"]
        site.progress(f"API Gateway serves {len(spec.resources)} routes at {site.api_url}")
        return gateway.app, gateway.inside_vpc(block.split("::")[0] + "::1")

    def _take_access(self, line: str) -> None:
        self._site.access_log(line)
        self.platform.accessed(line)

    async def _start_schedules(self, recording: Recording) -> None:
        running = schedules.running(
            schedules.of(recording),
            lambda arn, event: self._host(arn).invoke(event),
            self._site.options.seconds_per_minute,
        )
        await self._stack.enter_async_context(running)
        await self._stack.enter_async_context(self.platform.watching())

    async def _invoke(self, arn: str, event: dict[str, Any]) -> Any:
        """The gateway's way to a function."""
        try:
            result = await self._host(arn).invoke(json.dumps(event).encode())
        except LambdaApiError as error:
            raise InvocationRefused(str(error)) from error
        answer = json.loads(result.payload or b"null")
        if result.error:
            raise FunctionError(answer.get("errorMessage", ""))
        return answer

    def _host(self, name: str) -> FunctionHost:
        """The host of a function given by its name, ARN or qualified ARN."""
        for arn, host in self.hosts.items():
            if name in (arn, host.function.name) or name.startswith(f"{arn}:"):
                return host
        raise LambdaApiError(404, "ResourceNotFoundException", f"Function not found: {name}")

    def host(self, source: str) -> FunctionHost:
        """What runs the function in `functions/{source}`; raises LookupError, naming those there
        are.
        """
        hosts = {_source(host.function.handler): host for host in self.hosts.values()}
        if source not in hosts:
            known = ", ".join(sorted(hosts))
            raise LookupError(f"the stack has no function {source!r}, only {known}")
        return hosts[source]


def _source(handler: str) -> str:
    """The folder of functions/ that has this handler."""
    return handler.partition(".")[0]


def build_bundles(functions: Iterable[str]) -> dict[str, Path]:
    """The bundles of functions for this machine, built one after another, unless they are there."""
    runtime_dir()
    return {name: bundle.build(name, "host") for name in functions}

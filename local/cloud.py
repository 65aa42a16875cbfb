"""The local cloud: the program evaluated on this machine's parts, wired together and running."""

import asyncio
import contextlib
import json
import socket
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components import bundle
from local.apigateway.gateway import Gateway
from local.apigateway.model import FunctionError, InvocationRefused
from local.apigateway.spec import GatewaySpec
from local.aws.ec2 import Delays
from local.aws.endpoint import Endpoint
from local.aws.moto import Moto, start_moto
from local.deployment.backend import LocalBackend
from local.lambda_ import schedules
from local.lambda_.host import FunctionHost, runtime_dir
from local.lambda_.model import FunctionSpec, InvokeResult, LambdaApiError
from local.machine.ports import LOOPBACK, listen
from local.machine.processes import Processes
from local.machine.serving import serving
from local.machine.valkey import Valkey, start_valkey
from local.node.node import LocalNode
from recording import kinds
from recording.evaluate import evaluate, stack_region
from recording.model import Recording, Resource

FUNCTION = kinds.lambda_.FUNCTION.token
INSTANCE = kinds.ec2.INSTANCE.token
USER_POOL = kinds.cognito.USER_POOL.token
VPC = kinds.ec2.VPC.token
MAX_LINES = 10_000
VPC_LOOPBACK = "::1"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How this machine differs from AWS: the gateway's port (0: any), the scaled clock, EC2's
    delays, processes.

    `watcher` overrides what the watcher is told, by TLFIF_* names.
    """

    stack: str = "dev"
    config: Mapping[str, Any] = field(default_factory=dict)
    port: int = 0
    seconds_per_minute: float = 60.0
    delays: Delays = field(default_factory=Delays)
    workers: int = 2
    watcher: Mapping[str, str] = field(default_factory=dict)


class LocalCloud:
    """`async with LocalCloud(Options()) as cloud`: then `cloud.api_url` answers as the stack would
    on AWS.

    `progress(text)` is called as each part comes up. Whatever ends the block, nothing it started is
    left running.
    """

    def __init__(
        self, options: Options, progress: Callable[[str], None] = lambda text: None
    ) -> None:
        self.options = options
        self.logs: deque[tuple[str, str]] = deque(maxlen=MAX_LINES)
        self.access_log: deque[str] = deque(maxlen=MAX_LINES)
        self.hosts: dict[str, FunctionHost] = {}
        self.nodes: dict[str, LocalNode] = {}
        self._progress = progress
        self._stack = contextlib.AsyncExitStack()
        self.procs: Processes
        self.moto: Moto
        self.valkey: Valkey
        self.endpoint: Endpoint
        self.recording: Recording
        self.api_url = self.vpc_url = ""

    async def __aenter__(self) -> "LocalCloud":
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        # Bound before anything slow: a taken port is known at once.
        listeners = self._listen()
        folder = tempfile.TemporaryDirectory(prefix="tl-fif-")
        self.log_dir = Path(self._stack.enter_context(folder))
        self.procs = await self._stack.enter_async_context(Processes(self.log_dir))
        # Seconds of work each, done while the servers start.
        bundles = asyncio.create_task(asyncio.to_thread(_build))
        modules = asyncio.create_task(asyncio.to_thread(_import_program))
        await self._start_servers()
        await modules
        await self._deploy()
        await self._start_functions(await bundles)
        self._start_nodes()
        await self._start_gateway(*listeners)
        await self._start_schedules()

    def _listen(self) -> tuple[socket.socket, socket.socket]:
        """The API's sockets for the world and for the VPC."""
        world = listen(self.options.port, "the local gateway", "choose another with --port")
        self._stack.callback(world.close)
        vpc = listen(0, "the VPC", host=VPC_LOOPBACK)
        self._stack.callback(vpc.close)
        self.api_url = f"http://{LOOPBACK}:{world.getsockname()[1]}/v1"
        self.vpc_url = f"http://[{VPC_LOOPBACK}]:{vpc.getsockname()[1]}/v1"
        return world, vpc

    async def _start_servers(self) -> None:
        region = stack_region(self.options.stack, config=self.options.config)
        self.moto, self.valkey = await asyncio.gather(
            start_moto(self.procs, region), start_valkey(self.procs)
        )
        self._progress("the AWS APIs (moto) and the queue (Valkey) are up")
        endpoint = Endpoint(self.moto, delays=self.options.delays)
        self.endpoint = await self._stack.enter_async_context(endpoint)

    async def _deploy(self) -> None:
        """Runs the program: what it declares is made in moto and Valkey, or emulated below."""
        stack, config = self.options.stack, dict(self.options.config)
        backend = LocalBackend(stack, self.moto, self.valkey, api_url=self.api_url)
        self.recording = await asyncio.to_thread(evaluate, stack, backend, config=config)
        made = sum(each.custom for each in self.recording.resources)
        self._progress(f"the program is deployed: {made} resources")

    async def _start_functions(self, bundles: Mapping[str, Path]) -> None:
        self.endpoint.on_invoke = self._invoke_api
        # A schedule's calls follow one another: a second process would idle.
        scheduled = {each.function_arn for each in schedules.of(self.recording)}
        for resource in self.recording.of_type(FUNCTION):
            host = FunctionHost(
                self.procs,
                self._specification(resource, bundles),
                workers=1 if resource.outputs["arn"] in scheduled else self.options.workers,
                extra_env=self._platform(),
                on_log=lambda name, line: self.logs.append((name, line)),
            )
            self.hosts[resource.outputs["arn"]] = host
            self._stack.push_async_callback(host.stop)
        await asyncio.gather(*(host.start() for host in self.hosts.values()))
        self._progress(f"{len(self.hosts)} functions run from their bundles")

    def _specification(self, resource: Resource, bundles: Mapping[str, Path]) -> FunctionSpec:
        inputs = resource.inputs
        environment = inputs.get("environment", {}).get("variables", {})
        if inputs.get("vpcConfig"):
            environment = self._seen_from_vpc(environment)
        return FunctionSpec(
            name=inputs["name"],
            arn=resource.outputs["arn"],
            handler=inputs["handler"],
            zip_path=bundles[inputs["handler"].partition(".")[0]],
            environment=environment,
            timeout_s=inputs["timeout"],
            memory_mb=inputs["memorySize"],
            role_access_key=self.endpoint.credentials_for(inputs["role"]),
        )

    def _seen_from_vpc(self, declared: Mapping[str, str]) -> dict[str, str]:
        """The one exception to "the program's environment verbatim": a value that is the API's URL
        becomes the URL of the listener within the VPC.

        On AWS the VPC endpoint's private DNS does this: the same name leads to another address, by
        which the API knows that the caller is inside. Here the name is an address already.
        """
        inside = {self.api_url: self.vpc_url}
        return {name: inside.get(value, value) for name, value in declared.items()}

    def _platform(self) -> dict[str, str]:
        """What a function is told beyond what the program declares: where AWS is here, and how fast
        minutes pass.
        """
        return {
            "AWS_ENDPOINT_URL": self.endpoint.url,
            "TLFIF_JWKS_URL": self.endpoint.jwks_url(self.recording.one(USER_POOL).id),
            "TLFIF_SECONDS_PER_MINUTE": str(self.options.seconds_per_minute),
        }

    def _start_nodes(self) -> None:
        for resource in self.recording.of_type(INSTANCE):
            # The watcher reads its own part of it from the metadata service, as on AWS.
            told = json.loads(resource.inputs["userData"])
            node = LocalNode(
                self.procs,
                resource.id,
                imds_endpoint=self.endpoint.imds_url(resource.id),
                aws_endpoint=self.endpoint.url,
                slots=int(told["TLFIF_GPU_SLOTS"]),
                model=told["TLFIF_MODEL"],
                environment={
                    "TLFIF_SECONDS_PER_MINUTE": str(self.options.seconds_per_minute),
                    **self.options.watcher,
                },
                on_line=lambda line: self.logs.append(("watcher", line)),
            )
            self.nodes[resource.id] = node
            self._stack.push_async_callback(node.close)
            self.endpoint.on_instance_state(node.on_state)

    async def _start_gateway(self, world: socket.socket, vpc: socket.socket) -> None:
        spec = GatewaySpec.from_recording(self.recording, "gateway-api")
        gateway = Gateway(
            spec,
            invoke=self._invoke,
            aws_endpoint=self.endpoint.url,
            credentials_for=self.endpoint.credentials_for,
            access_log=self.access_log.append,
        )
        self._stack.push_async_callback(gateway.aclose)
        block = self.recording.one(VPC).outputs["ipv6CidrBlock"]
        inside = gateway.inside_vpc(block.split("::")[0] + "::1")
        await self._stack.enter_async_context(serving(gateway.app, world))
        await self._stack.enter_async_context(serving(inside, vpc))
        self._progress(f"API Gateway serves {len(spec.resources)} routes at {self.api_url}")

    async def _start_schedules(self) -> None:
        running = schedules.running(
            schedules.of(self.recording),
            lambda arn, event: self._host(arn).invoke(event),
            self.options.seconds_per_minute,
        )
        await self._stack.enter_async_context(running)

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

    async def _invoke_api(
        self, name: str, payload: bytes, client_context: str | None
    ) -> InvokeResult:
        """Lambda's Invoke API, by name or ARN."""
        return await self._host(name).invoke(payload, client_context=client_context)

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
        hosts = {host.function.handler.partition(".")[0]: host for host in self.hosts.values()}
        if source not in hosts:
            known = ", ".join(sorted(hosts))
            raise LookupError(f"the stack has no function {source!r}, only {known}")
        return hosts[source]

    def function(self, source: str) -> FunctionSpec:
        """The declaration of the function in `functions/{source}`."""
        return self.host(source).function

    def output(self, name: str) -> Any:
        """A stack output, as `pulumi stack output` shows it."""
        return self.recording.outputs[name]

    async def until(
        self, condition: Callable[[], Awaitable[bool]], timeout_s: float, what: str
    ) -> None:
        """Waits until something is so; raises TimeoutError saying what was waited for."""
        deadline = time.monotonic() + timeout_s
        while not await condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout_s:g} s still not so: {what}")
            await asyncio.sleep(0.05)


def _build() -> dict[str, Path]:
    """The bundles of all functions, built one after another."""
    runtime_dir()
    return {name: bundle.build(name, "host") for name in bundle.functions()}


def _import_program() -> None:
    """What the program imports, so that evaluating it need not."""
    import components.gateway
    import components.gpu_node
    import components.guardrails  # noqa: F401

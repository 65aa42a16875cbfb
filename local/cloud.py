"""The local cloud: the program evaluated on this machine's parts, and those parts wired together
and running.
"""

import asyncio
import contextlib
import json
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from components import bundle
from local.apigateway.gateway import FunctionError, Gateway, GatewaySpec, InvocationRefused
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
from recording.evaluate import evaluate
from recording.model import Recording, Resource

FUNCTION = kinds.lambda_.FUNCTION.token
INSTANCE = kinds.ec2.INSTANCE.token
USER_POOL = kinds.cognito.USER_POOL.token
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        # Bound before anything slow: a taken port is known at once.
        world = listen(self.options.port, "the local gateway", "choose another with --port")
        listeners = [world, listen(0, "the VPC", host=VPC_LOOPBACK)]
        for listener in listeners:
            self._stack.callback(listener.close)
        self.log_dir = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tl-fif-"))
        )
        self.procs = await self._stack.enter_async_context(Processes(self.log_dir))
        bundles = asyncio.create_task(self._build())
        modules = asyncio.create_task(asyncio.to_thread(_import_program))
        self.moto, self.valkey = await asyncio.gather(
            start_moto(self.procs, "us-east-1"), start_valkey(self.procs)
        )
        self._progress("the AWS APIs (moto) and the queue (Valkey) are up")
        self.endpoint = await self._stack.enter_async_context(
            Endpoint(self.moto, delays=self.options.delays)
        )
        ports = [each.getsockname()[1] for each in listeners]
        self.api_url, self.vpc_url = (
            f"http://{LOOPBACK}:{ports[0]}/v1",
            f"http://[{VPC_LOOPBACK}]:{ports[1]}/v1",
        )
        await modules
        backend = LocalBackend(self.options.stack, self.moto, self.valkey, api_url=self.api_url)
        self.recording = await asyncio.to_thread(
            evaluate, self.options.stack, backend, config=dict(self.options.config)
        )
        self._progress(
            f"the program is deployed: {sum(each.custom for each in self.recording.resources)} resources"
        )
        await self._start_functions(await bundles)
        self._start_nodes()
        await self._start_gateway(listeners)
        await self._stack.enter_async_context(
            schedules.running(
                schedules.of(self.recording),
                lambda arn, event: self._host(arn).invoke(event),
                self.options.seconds_per_minute,
            )
        )

    async def _build(self) -> dict[str, Path]:
        """The bundles of all functions; built one after another, while the servers start."""

        def build() -> dict[str, Path]:
            runtime_dir()
            return {name: bundle.build(name, "host") for name in bundle.functions()}

        return await asyncio.to_thread(build)

    async def _start_functions(self, bundles: Mapping[str, Path]) -> None:
        self.endpoint.on_invoke = self._invoke_api
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
        declared = inputs.get("environment", {}).get("variables", {})
        # Within the VPC the API has another address: that is how the gateway here knows who is
        # inside.
        environment = {k: self.vpc_url if v == self.api_url else v for k, v in declared.items()}
        return FunctionSpec(
            name=inputs["name"],
            arn=resource.outputs["arn"],
            handler=inputs["handler"],
            zip_path=bundles[inputs["handler"].partition(".")[0]],
            environment=environment if inputs.get("vpcConfig") else declared,
            timeout_s=inputs["timeout"],
            memory_mb=inputs["memorySize"],
            role_access_key=self.endpoint.credentials_for(inputs["role"]),
        )

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

    async def _start_gateway(self, listeners: Any) -> None:
        spec = GatewaySpec.from_recording(self.recording, "gateway-api")
        gateway = Gateway(
            spec,
            invoke=self._invoke,
            aws_endpoint=self.endpoint.url,
            credentials_for=self.endpoint.credentials_for,
            access_log=self.access_log.append,
        )
        self._stack.push_async_callback(gateway.aclose)
        vpc_address = (
            self.recording.one(kinds.ec2.VPC.token).outputs["ipv6CidrBlock"].split("::")[0] + "::1"
        )
        await self._stack.enter_async_context(serving(gateway.app, listeners[0]))
        await self._stack.enter_async_context(
            serving(gateway.inside_vpc(vpc_address), listeners[1])
        )
        self._progress(f"API Gateway serves {len(spec.resources)} routes at {self.api_url}")

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
            raise LookupError(
                f"the stack has no function {source!r}, only {', '.join(sorted(hosts))}"
            )
        return hosts[source]

    def function(self, source: str) -> FunctionSpec:
        """The declaration of the function in `functions/{source}`."""
        return self.host(source).function

    def output(self, name: str) -> Any:
        """A stack output, as `pulumi stack output` shows it."""
        return self.recording.outputs[name]

    def create_user(self, username: str) -> str:
        """A signed-up and confirmed user of the pool; their password."""
        password = f"Local-{time.time_ns()}!"
        cognito, pool = self.moto.client("cognito-idp"), self.output("user_pool_id")
        cognito.admin_create_user(UserPoolId=pool, Username=username, MessageAction="SUPPRESS")
        cognito.admin_set_user_password(
            UserPoolId=pool, Username=username, Password=password, Permanent=True
        )
        return password

    async def until(
        self, condition: Callable[[], Awaitable[bool]], timeout_s: float, what: str
    ) -> None:
        """Waits until something is so; raises TimeoutError saying what was waited for."""
        deadline = time.monotonic() + timeout_s
        while not await condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout_s:g} s still not so: {what}")
            await asyncio.sleep(0.05)


def _import_program() -> None:
    """Seconds of importing, done while the servers start."""
    import components.gateway
    import components.gpu_node
    import components.guardrails  # noqa: F401

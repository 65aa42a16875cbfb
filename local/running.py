"""What a deployed stack does on this machine: functions, nodes, the API and schedules."""

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Sequence
from typing import Any

from local.apigateway.gateway import Gateway
from local.apigateway.model import FunctionError, InvocationRefused
from local.apigateway.spec import GatewaySpec
from local.aws.invoke import Called, split
from local.functions import FUNCTION, LANE, Functions, build_bundles, source_of
from local.lambda_ import invocations, schedules
from local.lambda_.host import FunctionHost
from local.lambda_.model import InvokeResult, LambdaApiError
from local.monitoring.platform import Platform
from local.monitoring.stage import StageControl
from local.node.node import LocalNode
from local.site import Site
from recording import kinds
from recording.model import Recording
from tlfif import environment

INSTANCE = kinds.ec2.INSTANCE.token
PARAMETER = kinds.ssm.PARAMETER.token
VPC = kinds.ec2.VPC.token
_HASH = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")


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
        self.nodes: dict[str, LocalNode] = {}
        self.world, self.inside = Front(), Front()
        self.platform = Platform(
            site.moto, site.endpoint, self._post, site.options.seconds_per_minute
        )
        self._site = site
        self._stack = contextlib.AsyncExitStack()
        self._functions: Functions | None = None

    @property
    def hosts(self) -> dict[str, FunctionHost]:
        """What runs each function, by its ARN."""
        return self._functions.hosts if self._functions else {}

    async def deploy(self, recording: Recording, *, calls: bool) -> None:
        """Runs what a stack declares; `calls` says whether the calls that are part of its
        deployment are to be made here: the weights are there when it returns.
        """
        sources = [source_of(each.inputs["handler"]) for each in recording.of_type(FUNCTION)]
        bundles = await asyncio.to_thread(build_bundles, sources)
        stack, on_call = contextlib.AsyncExitStack(), self.platform.called
        functions = Functions(self._site, recording, bundles, self._take_line, on_call)
        stack.push_async_callback(functions.stop)
        try:
            await self._start_functions(functions, invocations.of(recording) if calls else [])
            fronts = self._gateway(recording, stack)
        except BaseException:
            await stack.aclose()
            raise
        old, self._stack = self._stack, stack
        # Lambda's Invoke API, by name or ARN.
        self._functions = self._site.endpoint.functions = functions
        functions.follow(self._site.endpoint.answers)
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
        self._functions = self._site.endpoint.functions = None
        for node in list(self.nodes.values()):
            await node.close()
        self.nodes.clear()

    # --- functions

    def _take_line(self, function: str, line: str) -> None:
        self._site.log(function, line)
        self.platform.wrote(function, line)

    async def _start_functions(
        self, functions: Functions, calls: Sequence[invocations.Call]
    ) -> None:
        # The lane's first call is a cold one on AWS, and it should cost nothing until then.
        called = {each.function_arn for each in calls}
        started = asyncio.gather(
            functions.start(
                lambda host: host.function.arn in called or source_of(host.function.handler) == LANE
            )
        )
        made = asyncio.gather(*(self._make(functions, call) for call in calls))
        await started
        self._site.progress(f"{len(functions.hosts)} functions run from their bundles")
        await made

    async def _make(self, functions: Functions, call: invocations.Call) -> None:
        """A call that is part of the deployment; whatever comes of it, that goes on."""
        result = await functions.call(call.function_arn, call.payload)
        answer = json.loads(result.payload)
        what = _HASH.sub(r"\1…", answer.get("message") or answer.get("errorMessage", ""))
        self._site.progress(f"{split(call.function_arn)[0]} was called: {what}")

    async def _call(self, arn: str, event: bytes) -> InvokeResult:
        return await self._deployed().call(arn, event)

    def _post(self, arn: str, event: bytes) -> Awaitable[InvokeResult]:
        return self._deployed().post(Called(*split(arn), event, None, None))

    def _deployed(self) -> Functions:
        if self._functions is None:
            raise LambdaApiError(404, "ResourceNotFoundException", "no stack is deployed")
        return self._functions

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
            self._call,
            self._site.options.seconds_per_minute,
        )
        await self._stack.enter_async_context(running)
        await self._stack.enter_async_context(self.platform.watching())

    async def _invoke(self, arn: str, event: dict[str, Any]) -> Any:
        """The gateway's way to a function."""
        try:
            # Escaped no more than API Gateway does it: its size counts.
            result = await self._call(arn, json.dumps(event, ensure_ascii=False).encode())
        except LambdaApiError as error:
            raise InvocationRefused(str(error), error.status) from error
        answer = json.loads(result.payload or b"null")
        if result.error:
            raise FunctionError(answer.get("errorMessage", ""))
        return answer

    def host(self, source: str) -> FunctionHost:
        """What runs the function in `functions/{source}`; raises LookupError, naming those there
        are.
        """
        hosts = {source_of(host.function.handler): host for host in self.hosts.values()}
        if source not in hosts:
            known = ", ".join(sorted(hosts))
            raise LookupError(f"the stack has no function {source!r}, only {known}")
        return hosts[source]

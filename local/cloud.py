"""The local cloud: the program deployed on this machine's parts, wired together and running."""

import asyncio
import contextlib
import socket
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from components import bundle
from local.aws.endpoint import Endpoint
from local.aws.moto import Moto, start_moto
from local.deployment.backend import LocalBackend, bake
from local.deployment.provider.cloud import CloudFile
from local.engine.deployment import Deployment
from local.functions import LANE, build_bundles
from local.lambda_.host import FunctionHost
from local.lambda_.model import FunctionSpec
from local.machine.hub import local_model_config, model_hub
from local.machine.ports import LOOPBACK, listen
from local.machine.processes import Processes
from local.machine.serving import serving
from local.machine.valkey import Valkey, start_valkey
from local.monitoring.platform import Platform
from local.node import model_file
from local.node.model_server import THREADS
from local.node.node import LocalNode
from local.running import Running
from local.site import Options, Site
from recording import kinds
from recording.evaluate import evaluate, stack_region
from recording.model import Recording

MAX_LINES = 10_000
VPC_LOOPBACK = "::1"
# Processors come with a function's memory; here they are shared with all the others.
MB_PER_PROCESSOR = 1_769
# Where nothing answers: a stack without the lane brings no weights.
NO_HUB = "http://127.0.0.1:9"
# What depends on everything that an API needs: the last to come, and the first to go.
STAGE = kinds.apigateway.STAGE.token

__all__ = ["LocalCloud", "Options"]


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
        self._progress = progress
        self._stack = contextlib.AsyncExitStack()
        self._by_engine = False
        self.procs: Processes
        self.moto: Moto
        self.valkey: Valkey
        self.endpoint: Endpoint
        self.recording: Recording
        self.deployment: Deployment
        self.described: CloudFile
        # What a stack is told on this machine: the lane, and the weights that are here.
        self.machine_config: Mapping[str, dict[str, Any]] = {}
        self._running: Running
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
        bundles = asyncio.create_task(asyncio.to_thread(build_bundles, self._usual_functions()))
        modules = asyncio.create_task(asyncio.to_thread(_import_program))
        model = asyncio.create_task(self._model_config())
        await self._start_servers()
        await self._serve(*listeners)
        await modules
        self.machine_config = await model
        if self.options.empty:
            await bundles
            return
        await self._deploy(self.machine_config)
        await bundles
        await self._running.deploy(self.recording, calls=self.options.lane)

    def _listen(self) -> tuple[socket.socket, socket.socket]:
        """The API's sockets for the world and for the VPC."""
        world = listen(self.options.port, "the local gateway", "choose another with --port")
        self._stack.callback(world.close)
        vpc = listen(0, "the VPC", host=VPC_LOOPBACK)
        self._stack.callback(vpc.close)
        self.api_url = f"http://{LOOPBACK}:{world.getsockname()[1]}/v1"
        self.vpc_url = f"http://[{VPC_LOOPBACK}]:{vpc.getsockname()[1]}/v1"
        return world, vpc

    def _usual_functions(self) -> list[str]:
        """Those to build before it is known which there are: the engine's package is large."""
        return [name for name in bundle.functions() if self.options.lane or name != LANE]

    async def _model_config(self) -> dict[str, dict[str, Any]]:
        """What this machine's stack is told of the lane and its weights."""
        if not self.options.lane:
            return {"tl-fif:cpu": {"enabled": False}, "tl-fif:model": {"hub": NO_HUB}}
        path = await asyncio.to_thread(model_file.prepare)
        url = await self._stack.enter_async_context(model_hub(path))
        return {
            "tl-fif:cpu": {"memoryMb": min(MB_PER_PROCESSOR * THREADS, 10_240)},
            "tl-fif:model": await asyncio.to_thread(local_model_config, path, url),
        }

    async def _start_servers(self) -> None:
        region = stack_region(self.options.stack, config=self.options.config)
        self.moto, self.valkey = await asyncio.gather(
            start_moto(self.procs, region), start_valkey(self.procs)
        )
        self._progress("the AWS APIs (moto) and the queue (Valkey) are up")
        endpoint = Endpoint(self.moto, delays=self.options.delays)
        self.endpoint = await self._stack.enter_async_context(endpoint)
        self.described = self._described()
        self.deployment = Deployment(Path(self.described.folder), self.described)

    def _described(self) -> CloudFile:
        return CloudFile(
            folder=str(self.log_dir / "pulumi"),
            control=str(self.log_dir / "control"),
            stack=self.options.stack,
            region=self.moto.region,
            moto_url=self.moto.url,
            queue_host=self.valkey.host,
            queue_port=self.valkey.port,
            queue_password=self.valkey.server.password,
            api_url=self.api_url,
        )

    async def _serve(self, world: socket.socket, vpc: socket.socket) -> None:
        site = Site(
            options=self.options,
            procs=self.procs,
            moto=self.moto,
            endpoint=self.endpoint,
            api_url=self.api_url,
            vpc_url=self.vpc_url,
            log=lambda source, line: self.logs.append((source, line)),
            access_log=self.access_log.append,
            progress=self._progress,
        )
        self._running = Running(site)
        self._stack.push_async_callback(self._running.close)
        await self._stack.enter_async_context(serving(self._running.world, world))
        await self._stack.enter_async_context(serving(self._running.inside, vpc))

    async def _deploy(self, usual: Mapping[str, dict[str, Any]]) -> None:
        """Deploys the program: what it declares is made in moto and Valkey, or emulated.

        `usual` is configuration for this machine, which the options override key by key.
        """
        stack, config = self.options.stack, {**usual, **self.options.config}
        for group in usual.keys() & self.options.config.keys():
            config[group] = {**usual[group], **self.options.config[group]}
        if self.options.baked:
            await asyncio.to_thread(bake, self.moto, stack)
        if self.options.engine:
            self.recording = await asyncio.to_thread(self.deployment.up, config)
            self._by_engine = True
        else:
            backend = LocalBackend(stack, self.moto, self.valkey, api_url=self.api_url)
            self.recording = await asyncio.to_thread(evaluate, stack, backend, config=config)
        made = sum(each.custom for each in self.recording.resources)
        by = " by Pulumi's engine" if self._by_engine else ""
        self._progress(f"the program is deployed{by}: {made} resources")

    async def make_way(self) -> None:
        """Empties the cloud for Pulumi's engine, unless that has deployed what there is."""
        if self._by_engine:
            return
        await self._running.close()
        self.platform.forget()
        await asyncio.to_thread(self.moto.reset)
        await asyncio.to_thread(bake, self.moto, self.options.stack)
        self._by_engine = True

    async def adopt(self, recording: Recording | None = None, *, calls: bool = False) -> bool:
        """Runs what Pulumi's engine has deployed; False when that is no whole stack.

        `recording` is of a state that is kept elsewhere than this cloud's own; `calls` says whether
        the calls of its deployment are made here.
        """
        recording = recording or await asyncio.to_thread(self.deployment.recording)
        if not recording.of_type(STAGE):
            await self._running.close()
            return False
        self.recording = recording
        # What the engine deploys has the stack's own configuration: the weights of the real hub,
        # which nobody waits for here.
        await self._running.deploy(recording, calls=calls)
        return True

    @property
    def hosts(self) -> dict[str, FunctionHost]:
        """What runs each function, by its ARN."""
        return self._running.hosts

    @property
    def platform(self) -> Platform:
        """Its metrics, alarms, topics and bill."""
        return self._running.platform

    @property
    def nodes(self) -> dict[str, LocalNode]:
        """The nodes by instance id."""
        return self._running.nodes

    def host(self, source: str) -> FunctionHost:
        """What runs the function in `functions/{source}`; raises LookupError, naming those there
        are.
        """
        return self._running.host(source)

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


def _import_program() -> None:
    """What the program imports, so that evaluating it need not."""
    import components.gateway
    import components.gpu_node
    import components.guardrails  # noqa: F401

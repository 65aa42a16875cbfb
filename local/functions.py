"""The functions of a deployed stack: their hosts, and for those that have them their versions."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from components import bundle
from local.aws.answers import Ask
from local.aws.invoke import Called, split
from local.aws.messages import Answer
from local.aws.moto import Moto
from local.aws.requests import AwsRequest
from local.lambda_ import schedules
from local.lambda_.host import FunctionHost, runtime_dir
from local.lambda_.model import (
    MAX_EVENT_AGE_S,
    RETRIES,
    FunctionSpec,
    InvokeResult,
    LambdaApiError,
    OnCall,
    OnLog,
)
from local.lambda_.versions import Alias, Published, Versions
from local.site import Site
from recording import kinds
from recording.model import Recording, Resource

FUNCTION = kinds.lambda_.FUNCTION.token
ALIAS = kinds.lambda_.ALIAS.token
EVENTS = kinds.lambda_.EVENT_INVOKE_CONFIG.token
USER_POOL = kinds.cognito.USER_POOL.token
LANE = "cpu_worker"
# What changes which version is called, or what it is.
_CHANGES = (
    "CreateAlias",
    "DeleteAlias",
    "DeleteFunction",
    "PublishVersion",
    "UpdateAlias",
    "UpdateFunctionCode",
    "UpdateFunctionConfiguration",
)


class Functions:
    """The functions that a recording declares: `start` starts them, `stop` ends them.

    One that an alias names runs in the version that moto's alias names at that moment, whoever
    moved it; the others run as they are declared. `on_log` and `on_call` are told what they write
    and what comes of each call.
    """

    def __init__(
        self,
        site: Site,
        recording: Recording,
        bundles: Mapping[str, Path],
        on_log: OnLog,
        on_call: OnCall,
    ) -> None:
        self._site, self._recording, self._bundles = site, recording, bundles
        self._on_log, self._on_call = on_log, on_call
        self._scheduled = {each.function_arn for each in schedules.of(recording)}
        self._asynchronous = {
            each.inputs["functionName"]: each.inputs for each in recording.of_type(EVENTS)
        }
        self._aliases = {
            each.inputs["functionName"]: each.inputs["name"] for each in recording.of_type(ALIAS)
        }
        self._hosts: dict[str, FunctionHost] = {}
        self._versions: dict[str, Versions] = {}
        for resource in recording.of_type(FUNCTION):
            name = resource.inputs["name"]
            if name in self._aliases:
                self._versions[name] = self._versions_of(resource)
            else:
                self._hosts[name] = self._host_of(self._declared(resource))

    @property
    def hosts(self) -> dict[str, FunctionHost]:
        """What runs each function, by its ARN: of several versions the one that its alias names."""
        main = [each.main(self._aliases[name]) for name, each in self._versions.items()]
        return {host.function.arn: host for host in (*self._hosts.values(), *main)}

    async def start(self, cold: Callable[[FunctionHost], bool]) -> None:
        """Starts all of them, but for those that are to start at their first call."""
        warm = (host.start() for host in self._hosts.values() if not cold(host))
        versions = (each.start(self._aliases[name]) for name, each in self._versions.items())
        await asyncio.gather(*warm, *versions)

    async def stop(self) -> None:
        """Ends all of them."""
        running = (*self._hosts.values(), *self._versions.values())
        await asyncio.gather(*(each.stop() for each in running))

    # --- calls; each raises LambdaApiError (404) for a function that is not there

    async def call(self, arn: str, event: bytes) -> InvokeResult:
        """Calls a function, or the version or alias of its ARN."""
        return await self.invoke(Called(*split(arn), event, None, None))

    async def invoke(self, called: Called) -> InvokeResult:
        """Lambda's Invoke."""
        if (versions := self._versions.get(called.name)) is not None:
            host = await versions.host(called.qualifier)
        else:
            host = self._hosted(called)
        return await host.invoke(called.payload, **_options(called, trace=called.trace))

    def post(self, called: Called) -> Awaitable[InvokeResult]:
        """Lambda's Invoke of an event."""
        versions = self._versions.get(called.name)
        host = versions.host_now(called.qualifier) if versions else self._hosted(called)
        return host.post(called.payload, **_options(called))

    def follow(self, answers: dict[tuple[str, str], Any]) -> None:
        """Has the changes of versions and aliases, by the API, seen by the next call."""
        answers |= {("lambda", operation): self._changed for operation in _CHANGES}

    async def _changed(self, request: AwsRequest, ask: Ask) -> Answer:
        answer = await ask()
        for versions in self._versions.values():
            versions.changed()
        return answer

    def _hosted(self, called: Called) -> FunctionHost:
        if called.name not in self._hosts or called.qualifier:
            name = f"{called.name}:{called.qualifier}" if called.qualifier else called.name
            raise LambdaApiError(404, "ResourceNotFoundException", f"Function not found: {name}")
        return self._hosts[called.name]

    # --- what is declared

    def _host_of(self, specification: FunctionSpec) -> FunctionHost:
        site = self._site
        # A schedule's calls follow one another, and so do the instant lane's: a second process
        # would idle.
        alone = specification.arn in self._scheduled or source_of(specification.handler) == LANE
        return FunctionHost(
            site.procs,
            specification,
            workers=1 if alone else site.options.workers,
            retry_s=site.options.seconds_per_minute,
            extra_env=self._platform(),
            on_log=self._on_log,
            on_call=self._on_call,
        )

    def _versions_of(self, resource: Resource) -> Versions:
        declared = self._declared(resource)
        look = partial(published, self._site.moto, declared.name, partial(self._version, declared))
        return Versions(look, self._host_of)

    def _declared(self, resource: Resource) -> FunctionSpec:
        inputs = resource.inputs
        events = self._asynchronous.get(inputs["name"], {})
        age_s = events.get("maximumEventAgeInSeconds", MAX_EVENT_AGE_S)
        environment = inputs.get("environment", {}).get("variables", {})
        return FunctionSpec(
            name=inputs["name"],
            arn=resource.outputs["arn"],
            handler=inputs["handler"],
            zip_path=self._bundles[source_of(inputs["handler"])],
            environment=self._seen(environment, from_vpc=bool(inputs.get("vpcConfig"))),
            timeout_s=inputs["timeout"],
            memory_mb=inputs["memorySize"],
            role_access_key=self._site.endpoint.credentials_for(inputs["role"]),
            retries=int(events.get("maximumRetryAttempts", RETRIES)),
            max_event_age_s=age_s / 60 * self._site.options.seconds_per_minute,
        )

    def _version(self, declared: FunctionSpec, settings: Mapping[str, Any]) -> FunctionSpec:
        """A version with the code and the settings that it was published with."""
        environment = settings.get("Environment", {}).get("Variables", {})
        return replace(
            declared,
            version=settings["Version"],
            handler=settings["Handler"],
            zip_path=self._site.moto.code_of(settings["CodeSha256"]) or declared.zip_path,
            environment=self._seen(environment, from_vpc=bool(settings.get("VpcConfig"))),
            timeout_s=settings["Timeout"],
            memory_mb=settings["MemorySize"],
            role_access_key=self._site.endpoint.credentials_for(settings["Role"]),
        )

    def _seen(self, declared: Mapping[str, str], *, from_vpc: bool) -> dict[str, str]:
        """The one exception to "the program's environment verbatim": for a function in the VPC a
        value that is the API's URL becomes the URL of the listener within the VPC.

        On AWS the VPC endpoint's private DNS does this: the same name leads to another address, by
        which the API knows that the caller is inside. Here the name is an address already.
        """
        inside = {self._site.api_url: self._site.vpc_url} if from_vpc else {}
        return {name: inside.get(value, value) for name, value in declared.items()}

    def _platform(self) -> dict[str, str]:
        """What a function is told beyond what the program declares: where AWS is here, and how fast
        minutes pass.
        """
        endpoint, options = self._site.endpoint, self._site.options
        return {
            "AWS_ENDPOINT_URL": endpoint.url,
            "TLFIF_JWKS_URL": endpoint.jwks_url(self._recording.one(USER_POOL).id),
            "TLFIF_SECONDS_PER_MINUTE": str(options.seconds_per_minute),
            "TLFIF_EC2_TIMEOUT_S": str(options.ec2_timeout_s),
            "TLFIF_PATIENCE_S": str(options.ec2_timeout_s),
        }


def _options(called: Called, **others: str | None) -> dict[str, Any]:
    """What a call says beside its payload."""
    told = {"client_context": called.context, "qualifier": called.qualifier, **others}
    return {name: value for name, value in told.items() if value}


def source_of(handler: str) -> str:
    """The folder of functions/ that has this handler."""
    return handler.partition(".")[0]


def build_bundles(functions: Iterable[str]) -> dict[str, Path]:
    """The bundles of functions for this machine, built one after another, unless they are there."""
    runtime_dir()
    return {name: bundle.build(name, "host") for name in functions}


SpecOf = Callable[[Mapping[str, Any]], FunctionSpec]


async def published(moto: Moto, name: str, spec_of: SpecOf) -> Published:
    """The versions and aliases of one function; `spec_of` reads a version's settings."""
    return await asyncio.to_thread(_published, moto, name, spec_of)


def _published(moto: Moto, name: str, spec_of: SpecOf) -> Published:
    client = moto.client("lambda")
    versions = client.list_versions_by_function(FunctionName=name)["Versions"]
    aliases = client.list_aliases(FunctionName=name)["Aliases"]
    return Published(
        {each["Version"]: spec_of(each) for each in versions},
        {each["Name"]: _alias(each) for each in aliases},
    )


def _alias(told: Mapping[str, Any]) -> Alias:
    weights = (told.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    return Alias(told["FunctionVersion"], weights)

"""A deployed REST API, out of the recorded program."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from local.apigateway.model import GatewayResponse, Method, SpecError
from local.apigateway.openapi import Reader
from local.iam.policy import Policy
from recording import kinds


class RecordedResource(Protocol):
    """What the gateway reads of a recorded resource."""

    @property
    def inputs(self) -> dict[str, Any]: ...
    @property
    def outputs(self) -> dict[str, Any]: ...
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


class RecordedProgram(Protocol):
    """What the gateway reads of a recording."""

    def of_type(self, kind: str) -> Sequence[RecordedResource]:
        """All resources of one type."""
        ...


@dataclass(frozen=True, kw_only=True)
class GatewaySpec:
    """A deployed REST API.

    `resources` maps a path template to its methods by name (`ANY` included).

    `throttles` maps `resource/METHOD` or `*/*` to (requests per second, burst); `access_log` is the
    stage's format.
    """

    api_arn: str
    stage: str
    resources: Mapping[str, Mapping[str, Method]]
    gateway_responses: Mapping[str, GatewayResponse] = field(default_factory=dict)
    policy: Policy | None = None
    throttles: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    stage_variables: Mapping[str, str] = field(default_factory=dict)
    access_log: str | None = None
    binary_media_types: Sequence[str] = ()

    @property
    def api_id(self) -> str:
        return self.api_arn.rpartition(":")[2]

    @property
    def account(self) -> str:
        return self.api_arn.split(":")[4]

    @property
    def region(self) -> str:
        return self.api_arn.split(":")[3]

    @classmethod
    def parse(
        cls,
        document: Mapping[str, Any],
        *,
        api_arn: str,
        stage: str,
        policy: Any = None,
        **more: Any,
    ) -> "GatewaySpec":
        """From an OpenAPI 3.0 document; `api_arn` is arn:aws:execute-api:region:account:api-id.

        Raises SpecError.
        """
        reader = Reader(document)
        return cls(
            api_arn=api_arn,
            stage=stage,
            resources=reader.resources(),
            gateway_responses=reader.gateway_responses(),
            policy=None if policy is None else Policy(policy, api_arn),
            binary_media_types=tuple(document.get("x-amazon-apigateway-binary-media-types", ())),
            **more,
        )

    @classmethod
    def from_recording(cls, recording: RecordedProgram, name: str | None = None) -> "GatewaySpec":
        """The only REST API of a program, or the one whose resource has this name, with its stage
        and policy.
        """
        api = _only(recording, "restApi:RestApi", lambda resource: name in (None, resource.name))
        stage = _only(
            recording, "stage:Stage", lambda resource: resource.inputs["restApi"] == api.id
        )
        policies = [
            r
            for r in recording.of_type(kinds.apigateway.REST_API_POLICY.token)
            if r.inputs["restApiId"] == api.id
        ]
        settings = recording.of_type(kinds.apigateway.METHOD_SETTINGS.token)
        return cls.parse(
            json.loads(api.inputs["body"]),
            api_arn=api.outputs["executionArn"],
            stage=stage.inputs["stageName"],
            policy=json.loads(policies[0].inputs["policy"]) if policies else None,
            throttles=dict(_throttles(r.inputs for r in settings if r.inputs["restApi"] == api.id)),
            stage_variables=stage.inputs.get("variables") or {},
            access_log=(stage.inputs.get("accessLogSettings") or {}).get("format"),
        )


def _only(recording: RecordedProgram, kind: str, wanted: Any) -> RecordedResource:
    found = [
        resource for resource in recording.of_type(f"aws:apigateway/{kind}") if wanted(resource)
    ]
    if len(found) != 1:
        raise SpecError(
            f"the program has {len(found)} fitting resources of type {kind}, the gateway serves one"
        )
    return found[0]


def _throttles(settings: Iterator[dict[str, Any]]) -> Iterator[tuple[str, tuple[float, int]]]:
    for inputs in settings:
        rate = inputs["settings"].get("throttlingRateLimit", -1)
        burst = inputs["settings"].get("throttlingBurstLimit", -1)
        if rate >= 0 and burst >= 0:  # -1 switches throttling off
            yield inputs["methodPath"], (float(rate), int(burst))

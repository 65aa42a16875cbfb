"""A deployed REST API, out of the recorded program."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from local.apigateway.model import GatewayResponse, Method, Plan, SpecError
from local.apigateway.openapi import Reader, check_no_stage_variables
from local.iam.policy import Policy
from recording import kinds
from tlfif import callers


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

    `resources` maps a path template to its methods by name.

    `throttles` maps `resource/METHOD` or `*/*` to (requests per second, burst); `access_log` is the
    stage's format. `plans` has the usage plan of each API key's value.
    """

    api_arn: str
    stage: str
    resources: Mapping[str, Mapping[str, Method]]
    gateway_responses: Mapping[str, GatewayResponse] = field(default_factory=dict)
    policy: Policy | None = None
    throttles: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    access_log: str | None = None
    plans: Mapping[str, Plan] = field(default_factory=dict)

    @property
    def api_id(self) -> str:
        return self.api_arn.rpartition(":")[2]

    @property
    def account(self) -> str:
        return self.api_arn.split(":")[4]

    @classmethod
    def parse(
        cls,
        document: Mapping[str, Any],
        *,
        api_arn: str,
        stage: str,
        throttles: Mapping[str, tuple[float, int]] | None = None,
        access_log: str | None = None,
        plans: Mapping[str, Plan] | None = None,
    ) -> "GatewaySpec":
        """From an OpenAPI 3.0 document; `api_arn` is arn:aws:execute-api:region:account:api-id.

        Raises SpecError, VtlError for a mapping template, PolicyError for the policy.
        """
        check_no_stage_variables(f"stage {stage}: access log", access_log)
        reader = Reader(document)
        policy = document.get("x-amazon-apigateway-policy")
        return cls(
            api_arn=api_arn,
            stage=stage,
            resources=reader.resources(),
            gateway_responses=reader.gateway_responses(),
            policy=None if policy is None else Policy.parse(policy, api_arn),
            throttles=throttles or {},
            access_log=access_log,
            plans={} if plans is None else plans,
        )

    @classmethod
    def from_recording(cls, recording: RecordedProgram, name: str | None = None) -> "GatewaySpec":
        """The only REST API of a program, or the one whose resource has this name, with its
        stage.
        """
        api = _only(
            recording, kinds.apigateway.REST_API.token, lambda api: name in (None, api.name)
        )
        stage = _only(
            recording, kinds.apigateway.STAGE.token, lambda stage: stage.inputs["restApi"] == api.id
        )
        if stage.inputs.get("variables"):
            raise SpecError(f"stage {stage.name}: stage variables are not served")
        return cls.parse(
            json.loads(api.inputs["body"]),
            api_arn=api.outputs["executionArn"],
            stage=stage.inputs["stageName"],
            throttles=dict(_throttles(recording, api.id)),
            access_log=(stage.inputs.get("accessLogSettings") or {}).get("format"),
            plans=dict(_plans(recording, api.id, stage.inputs["stageName"])),
        )


def _only(
    recording: RecordedProgram, kind: str, wanted: Callable[[RecordedResource], bool]
) -> RecordedResource:
    found = list(filter(wanted, recording.of_type(kind)))
    if len(found) != 1:
        what = f"{len(found)} fitting resources of type {kind.removeprefix('aws:apigateway/')}"
        raise SpecError(f"the program has {what}, the gateway serves one")
    return found[0]


def _throttles(recording: RecordedProgram, api_id: str) -> Iterator[tuple[str, tuple[float, int]]]:
    for resource in recording.of_type(kinds.apigateway.METHOD_SETTINGS.token):
        settings = resource.inputs["settings"]
        rate = settings.get("throttlingRateLimit", -1)
        burst = settings.get("throttlingBurstLimit", -1)
        # -1 switches throttling off.
        if resource.inputs["restApi"] == api_id and rate >= 0 and burst >= 0:
            yield _method(resource.inputs["methodPath"]), (float(rate), int(burst))


def _plans(recording: RecordedProgram, api_id: str, stage: str) -> Iterator[tuple[str, Plan]]:
    """The plan of each key that has one for this stage."""
    plans = {each.id: each.inputs for each in recording.of_type(kinds.apigateway.USAGE_PLAN.token)}
    # A recording hides values, which the provider calls secret.
    values = {
        each.id: callers.value(each.inputs["name"])
        for each in recording.of_type(kinds.apigateway.API_KEY.token)
    }
    for key in recording.of_type(kinds.apigateway.USAGE_PLAN_KEY.token):
        plan = plans[key.inputs["usagePlanId"]]
        if {"apiId": api_id, "stage": stage} in plan["apiStages"]:
            yield values[key.inputs["keyId"]], _plan(plan)


def _plan(inputs: Mapping[str, Any]) -> Plan:
    throttle, quota = inputs.get("throttleSettings"), inputs.get("quotaSettings")
    if quota and quota["period"] != "DAY":
        raise SpecError(f"usage plan: quotas of a {quota['period']} are not served; use DAY")
    return Plan(
        throttle=(float(throttle["rateLimit"]), int(throttle["burstLimit"])) if throttle else None,
        per_day=int(quota["limit"]) if quota else None,
    )


def _method(path: str) -> str:
    """The method of a stage's setting, `resource/METHOD`: there its resource's slashes are escaped,
    and one that is not escaped sets nothing.
    """
    resource, _, method = path.rpartition("/")
    if resource != "*" and not resource.startswith("~1"):
        raise SpecError(f"method settings {path!r}: write the resource's slashes as ~1")
    return f"{resource.replace('~1', '/').strip('/')}/{method}"

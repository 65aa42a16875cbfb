"""API Gateway's own API, as far as it changes a stage's throttle while it is served."""

import json
from typing import Any

from local.apigateway.throttle import Throttle
from local.aws.answers import Ask
from local.aws.errors import AwsError
from local.aws.messages import Answer
from local.aws.requests import AwsRequest

_RATE, _BURST = "rateLimit", "burstLimit"


class StageControl:
    """GetStage and UpdateStage of one served stage."""

    def __init__(self, api_id: str, stage: str, throttle: Throttle) -> None:
        self._named = {"restApiId": api_id, "stageName": stage}
        self._throttle = throttle

    async def get(self, request: AwsRequest, ask: Ask) -> Answer:
        """GetStage."""
        self._require(request)
        return self._answer()

    async def update(self, request: AwsRequest, ask: Ask) -> Answer:
        """UpdateStage; of what can be patched the throttles of methods."""
        self._require(request)
        for operation in request.params.get("patchOperations", ()):
            self._patch(operation)
        return self._answer()

    def _require(self, request: AwsRequest) -> None:
        if {name: request.params[name] for name in self._named} != self._named:
            raise AwsError(404, "NotFoundException", "Invalid stage identifier specified")

    def _patch(self, operation: dict[str, Any]) -> None:
        path, op = operation["path"], operation["op"]
        match path.strip("/").split("/"):
            case [resource, method, "throttling", ("rateLimit" | "burstLimit") as what]:
                key = f"{resource.replace('~1', '/').strip('/')}/{method}"
                self._change(key, what, op, operation.get("value"))
            case _:
                raise AwsError(400, "BadRequestException", f"Invalid patch path {path}")

    def _change(self, key: str, what: str, op: str, value: str | None) -> None:
        if op != "replace" or value is None:
            raise AwsError(400, "BadRequestException", f"Invalid patch operation {op}")
        rate, burst = self._throttle.settings.get(key, (10_000.0, 5_000))
        changed = (float(value), burst) if what == _RATE else (rate, int(value))
        self._throttle.change(key, *changed)

    def _answer(self) -> Answer:
        methods = {
            _named(key): {"throttlingRateLimit": rate, "throttlingBurstLimit": burst}
            for key, (rate, burst) in self._throttle.settings.items()
        }
        body = {"stageName": self._named["stageName"], "methodSettings": methods}
        headers = [(b"content-type", b"application/json")]
        return Answer(200, headers, json.dumps(body).encode())


def _named(path: str) -> str:
    """A throttle's name in a stage's settings: the slashes of the resource escaped."""
    resource, _, method = path.rpartition("/")
    return path if resource == "*" else f"~1{resource.replace('/', '~1')}/{method}"

"""What of AWS watches a stack: its metrics, alarms, topics and bill, wired to a local cloud."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping

from local.apigateway.call import ApiCall, Response, ms
from local.aws.answers import Ask
from local.aws.endpoint import Endpoint
from local.aws.messages import Answer
from local.aws.moto import Moto
from local.aws.requests import AwsRequest
from local.lambda_.model import FunctionSpec, InvokeResult
from local.monitoring.alarms import Alarms
from local.monitoring.billing import Billing
from local.monitoring.metrics import Metrics
from local.monitoring.topics import Post, Topics
from local.monitoring.traces import Traces
from recording import kinds
from recording.model import Recording

FUNCTION = kinds.lambda_.FUNCTION.token
REST_API, STAGE = kinds.apigateway.REST_API.token, kinds.apigateway.STAGE.token
LAMBDA, API, LOGS = "AWS/Lambda", "AWS/ApiGateway", "AWS/Logs"
# CloudWatch Logs bills each event with so many bytes beside its text.
EVENT_BYTES = 26
# START, END and REPORT, which Lambda writes of each call unless the function's settings say not to.
REPORT_BYTES = 3 * EVENT_BYTES + 300
_QUIET = ("WARN",)


class Platform:
    """`platform.adopt(recording)` after each deployment; `watching` judges alarms within a block.

    `post` is how topics call functions.
    """

    def __init__(
        self, moto: Moto, endpoint: Endpoint, post: Post, seconds_per_minute: float
    ) -> None:
        self.metrics = Metrics(moto)
        self.topics = Topics(post)
        self.billing = Billing(self.topics)
        self.traces = Traces()
        self.alarms = Alarms(moto, self.metrics, self.topics, seconds_per_minute)
        self._quiet: set[str] = set()
        self._api: Mapping[str, str] = {}
        self._access_log = ""
        endpoint.answers |= {
            ("budgets", "DescribeBudget"): self.billing.describe,
            ("budgets", "UpdateBudget"): self.billing.update,
            ("ce", "GetCostAndUsage"): self.billing.cost,
            ("cloudwatch", "GetMetricStatistics"): self._statistics,
            ("cloudwatch", "PutMetricData"): self._put,
            ("sns", "Publish"): self._publish,
            ("xray", "BatchGetTraces"): self.traces.batch,
            ("xray", "GetTraceSummaries"): self.traces.summaries,
        }
        for operation in ("GetMetricData", "ListMetrics"):
            endpoint.answers["cloudwatch", operation] = self._asked

    def adopt(self, recording: Recording) -> None:
        """Takes what is deployed; whom a topic calls is there by then."""
        functions = recording.of_type(FUNCTION)
        self._quiet = {
            each.inputs["name"]
            for each in functions
            if (each.inputs.get("loggingConfig") or {}).get("systemLogLevel") in _QUIET
        }
        [api, *_] = recording.of_type(REST_API)
        [stage, *_] = (
            each for each in recording.of_type(STAGE) if each.inputs["restApi"] == api.id
        )
        self._api = {"ApiName": api.inputs["name"], "Stage": stage.inputs["stageName"]}
        settings = stage.inputs.get("accessLogSettings") or {}
        self._access_log = settings.get("destinationArn", "").rpartition(":log-group:")[2]
        self.topics.adopt(recording)
        self.alarms.adopt(recording)
        self.billing.adopt(recording)

    def forget(self) -> None:
        """As after a deployment into an empty cloud."""
        self.metrics.forget()
        self.alarms.alarms.clear()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Judges alarms until the block ends."""
        judging = asyncio.create_task(self.alarms.run())
        try:
            yield
        finally:
            judging.cancel()
            await asyncio.gather(judging, return_exceptions=True)
            await self.topics.close()

    # --- what the platform counts

    def called(self, function: FunctionSpec, qualifier: str, result: InvokeResult | None) -> None:
        """A function was called, perhaps by a version or an alias; without a result Lambda refused
        to, all its workers being busy.
        """
        counted = {"Throttles": 1.0} if result is None else _counted(result)
        for dimensions in _dimensions(function, qualifier):
            for name, value in counted.items():
                self.metrics.put(LAMBDA, name, dimensions, value)
        if result is not None and function.name not in self._quiet:
            self._logged(f"/aws/lambda/{function.name}", REPORT_BYTES)

    def wrote(self, function: str, line: str) -> None:
        """A function wrote a line."""
        self.metrics.take_line(line)
        self._logged(f"/aws/lambda/{function}", len(line.encode()) + EVENT_BYTES)

    def answered(self, call: ApiCall, response: Response) -> None:
        """The API answered a request."""
        self.traces.answered(call, response)
        status = response.status
        counted = {
            "Count": 1.0,
            "4XXError": float(400 <= status < 500),
            "5XXError": float(status >= 500),
            "Latency": ms(call.started),
        }
        if call.integration_ms is not None:
            counted["IntegrationLatency"] = call.integration_ms
        for name, value in counted.items():
            self.metrics.put(API, name, self._api, value)
            self.metrics.put(API, name, {"ApiName": self._api["ApiName"]}, value)

    def accessed(self, line: str) -> None:
        """The API wrote a line of its access log."""
        self._logged(self._access_log, len(line.encode()) + EVENT_BYTES)

    def _logged(self, group: str, size: int) -> None:
        for dimensions in ({"LogGroupName": group}, {}):
            self.metrics.put(LOGS, "IncomingBytes", dimensions, size)
            self.metrics.put(LOGS, "IncomingLogEvents", dimensions, 1)

    # --- the APIs

    async def _statistics(self, request: AwsRequest, ask: Ask) -> Answer:
        return self.metrics.answer(request)

    async def _asked(self, request: AwsRequest, ask: Ask) -> Answer:
        await self.metrics.flush()
        return await ask()

    async def _put(self, request: AwsRequest, ask: Ask) -> Answer:
        answer = await ask()
        if answer.status == 200:
            self.metrics.take_request(request)
        return answer

    async def _publish(self, request: AwsRequest, ask: Ask) -> Answer:
        answer = await ask()
        if answer.status == 200 and (topic := request.params.get("TopicArn")):
            told = request.params
            self.topics.publish(topic, told.get("Subject", ""), told["Message"])
        return answer


def _counted(result: InvokeResult) -> dict[str, float]:
    failed = float(result.error is not None)
    return {"Invocations": 1.0, "Errors": failed, "Duration": result.duration_ms}


def _dimensions(function: FunctionSpec, qualifier: str) -> Iterator[dict[str, str]]:
    """By what CloudWatch has a call: its function, and the version or alias that was called; of an
    alias also which version ran.
    """
    of = {"FunctionName": function.name}
    yield of
    if qualifier:
        resource = {**of, "Resource": f"{function.name}:{qualifier}"}
        yield resource
        if qualifier != function.version:
            yield {**resource, "ExecutedVersion": function.version}

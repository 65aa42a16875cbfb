"""The weights: a function brings them from the model hub to the stack's bucket, once, by their
content.
"""

import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import billed, deployed, iam, pricing
from components.component import Component
from components.lambda_function import LambdaFunction, LambdaFunctionArgs
from components.settings_model import LaneWeights
from components.storage import RepliesBucket
from tlfif import environment

# Lambda's longest: a file of some GB from a slow hub.
TIMEOUT_S = 900
EVERY, CALLS_PER_MONTH, USUAL_MS = "1 hour", pricing.HOURS, 500
# What the estimate assumes of a file whose size is not known: the default's, brought once a month,
# in parts of 16 MiB and some requests more.
USUAL_BYTES, PART_BYTES, OTHER_WRITES = 668_788_096, 16 << 20, 20
STATUS = "model_status"


@dataclass(frozen=True, kw_only=True)
class ModelWeightsArgs:
    """Whose weights, the instant lane's, and the bucket that gets them."""

    stack: str
    weights: LaneWeights
    replies_bucket: RepliesBucket


class ModelWeights(Component):
    """A function outside the VPC, because hubs and their CDNs are not all to be reached over IPv6.

    It is called while the stack is deployed (`aws.lambda_.Invocation`, on creation only: the other
    lifecycle would call it on `pulumi destroy` too) and once an hour. The first call is made when
    the function is, so its role may not have what it is granted yet; the function waits for that
    (functions/model_fetch/bucket.py). `status` is what it answered, as an output of the stack.
    """

    def __init__(
        self, name: str, args: ModelWeightsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        self._args = args
        self.function = self._create_function()
        self.function.run_every(EVERY)
        self.status = self._bring()
        size = args.weights.size_bytes or USUAL_BYTES
        writes = size // PART_BYTES + OTHER_WRITES
        self._bill(
            pricing.line("S3 storage", size / 1e9, "weights: what is kept", resource=billed.BUCKET),
            pricing.line("S3 write", writes, "weights: writes", resource=billed.BUCKET),
        )
        self.register_outputs({STATUS: self.status})

    def _create_function(self) -> LambdaFunction:
        args, model = self._args, self._args.weights
        told = environment.ModelFetch.variables(
            stack=args.stack,
            replies_bucket=args.replies_bucket.name,
            model_url=model.url,
            model_key=model.key,
            model_sha256=model.sha256,
        )
        return LambdaFunction(
            self._name,
            LambdaFunctionArgs(
                source="model_fetch",
                stack=args.stack,
                timeout_s=TIMEOUT_S,
                environment=told,
                statements=iam.bring_models(args.replies_bucket.arn),
                monthly_calls=CALLS_PER_MONTH,
                usual_ms=USUAL_MS,
                traced=False,
            ),
            opts=self._child(),
        )

    def _bring(self) -> pulumi.Output[dict[str, Any]]:
        """Calls it when there are other weights, another place for them, or when the last call of a
        deployment did not bring them: an `up` without any of it changes nothing.
        """
        args, model = self._args, self._args.weights
        attempt = _attempt(model.sha256)
        function = self.function.function
        invocation = aws.lambda_.Invocation(
            f"{self._name}-bring",
            function_name=function.name,
            input=json.dumps({"caller": "pulumi up"}),
            triggers={
                "url": model.url,
                "sha256": model.sha256,
                "bucket": args.replies_bucket.name,
                "attempt": str(attempt),
            },
            # The first is made before the schedule may call.
            opts=self._child(),
        )

        def status(answer: tuple[str, str]) -> dict[str, Any]:
            result, function_arn = answer
            said = json.loads(result)
            if not said["ok"]:
                pulumi.log.warn(f"there are no weights yet: {said['message']}", self)
            return {
                "ok": said["ok"],
                "message": said["message"],
                "sha256": model.sha256,
                "attempt": attempt,
                "function": function_arn,
            }

        return pulumi.Output.all(invocation.result, function.arn).apply(
            lambda both: status((both[0], both[1]))
        )


def _attempt(sha256: str) -> int:
    """Which attempt this is to bring these weights: the last one's number, if that brought them."""
    last = deployed.outputs().get(STATUS)
    if not isinstance(last, dict) or last.get("sha256") != sha256:
        return 1
    attempt = int(last.get("attempt") or 0)
    return max(attempt, 1) if last.get("ok") else attempt + 1

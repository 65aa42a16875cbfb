"""Calls the instant lane for who has the right to: the router for its job, the guardian for all
others.
"""

import json
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import redis

from tlfif import aws
from tlfif.environment import Fleet
from tlfif.log import log
from tlfif.queue import lane, scripts


def invoke(functions: Any, function: str, token: str) -> None:
    """Has Lambda run the lane, and does not wait for it; `functions` is Lambda's client.

    `token` says who called, for the log. Raises botocore's errors.
    """
    payload = json.dumps({"token": token})
    functions.invoke(FunctionName=function, InvocationType="Event", Payload=payload)


@dataclass(frozen=True)
class Caller:
    """Calls a stack's instant lane, if it has one; Lambda has `timeout_s` to take a call.

    A call that comes to nothing fails nobody: it is noted, and the guardian tries in a minute.
    """

    redis: "redis.Redis"
    fleet: Fleet
    timeout_s: float

    @cached_property
    def policy(self) -> lane.Lane | None:
        """What the queue is told of the lane; None: the stack has none."""
        told = self.fleet
        if not told.lane_function:
            return None
        return lane.Lane(told.gpu_wake, told.gpu_wake_after_seconds, told.lane_prompt_bytes)

    @cached_property
    def functions(self) -> Any:
        """Lambda's client, made on first use."""
        return aws.client("lambda", connect_s=self.timeout_s, read_s=self.timeout_s)

    def call(self, token: str) -> None:
        """Calls it for the holder of the right to, which is given back if Lambda refuses."""
        try:
            with aws.answering():
                invoke(self.functions, self.fleet.lane_function, token)
        except aws.Unavailable as error:
            self._uncalled(token, str(error))
        else:
            log("lane called", token=token)

    def call_if_wanted(self) -> None:
        """Calls it unless it is there, called, broken or of no use.

        For whoever was to wake a node, and gives that right back: jobs may have been left to the
        node. Raises redis.RedisError.
        """
        token = str(uuid.uuid4())
        if self.policy and scripts.run(self.redis, lane.call(token)):
            self.call(token)

    def _uncalled(self, token: str, code: str) -> None:
        log("lane not called", "ERROR", token=token, function=self.fleet.lane_function, why=code)
        message = f"Lambda did not take the call of the instant lane ({code})."
        try:
            scripts.run(self.redis, lane.uncalled(token, code, message))
        except redis.RedisError as error:
            # Then the right to call wears off.
            log("lane's call not given back", "ERROR", token=token, why=str(error))

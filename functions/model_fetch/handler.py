"""Brings the stack's weights from the model hub to its bucket, once, by their content.

Called when the stack is deployed, by `make model`, and once an hour, which heals what was away.
"""

import contextlib
import traceback
from typing import Any

from model_fetch.bucket import Bucket
from model_fetch.fetch import bring
from model_fetch.hub import Hub
from model_fetch.refusals import Clock, Refusal
from tlfif import aws
from tlfif.environment import ModelFetch
from tlfif.log import log


def handler(event: object, context: Any) -> dict[str, Any]:
    """The Lambda entry point: `{"ok": whether the weights are there, "message": one line}`.

    Raises nothing: a deployment does not fail because a hub is away.
    """
    try:
        told = ModelFetch.read()
        clock = Clock(context.get_remaining_time_in_millis)
        otherwise = f"bring the file yourself: make model STACK={told.stack} FILE=<the file>"
        s3 = aws.client("s3", connect_s=5.0, read_s=60.0, tries=4)
        with contextlib.closing(s3):
            bucket = Bucket(s3, told.replies_bucket, clock)
            hub = Hub(told.model_url, clock, otherwise=otherwise)
            return _answer(True, bring(bucket, hub, told.model_sha256, otherwise))
    except Refusal as refusal:
        return _answer(False, str(refusal))
    except Exception as error:
        log("failed", "ERROR", trace=traceback.format_exc())
        return _answer(False, _unexpected(error))


def _answer(ok: bool, message: str) -> dict[str, Any]:
    log("weights", "INFO" if ok else "ERROR", ok=ok, message=message)
    return {"ok": ok, "message": message}


def _unexpected(error: Exception) -> str:
    again = "it is tried again every hour, and by make model at once"
    if isinstance(error, aws.errors()):
        said = " ".join(str(error).split())
        return f"S3 does not take the weights ({aws.code(error)}: {said}); {again}"
    return f"{type(error).__name__}: {error}; the function's log has more, and {again}"

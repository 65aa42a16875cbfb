"""Brings the stack's weights from the model hub to its bucket, once, by their content.

Called when the stack is deployed, by `make model`, and once an hour, which heals what was away.
"""

import contextlib
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from model_fetch.bucket import Bucket
from model_fetch.fetch import bring
from model_fetch.hub import Hub
from model_fetch.refusals import OUT_OF_TIME, Clock, Refusal
from tlfif import aws
from tlfif.environment import ModelFetch
from tlfif.log import log

# Left of the function's time when it answers whatever is under way: a call that ran out of it would
# be an error, and fail the deployment that made it.
ANSWER_S = 5.0


def handler(event: object, context: Any) -> dict[str, Any]:
    """The Lambda entry point: `{"ok": whether the weights are there, "message": one line}`.

    Raises nothing: a deployment does not fail because a hub is away.
    """
    left_s = context.get_remaining_time_in_millis() / 1000 - ANSWER_S
    pool = ThreadPoolExecutor(1, "model-fetch")
    try:
        return pool.submit(_work, context).result(timeout=left_s)
    except TimeoutError:
        # What hangs is let go; should it wake up beside the next call, neither hurts the other.
        return _answer(False, OUT_OF_TIME)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _work(context: Any) -> dict[str, Any]:
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

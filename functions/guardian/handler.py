"""Every minute: no node that may not run, no live job without a worker on its way, and no dead one
without an answer. And an operator's commands about the same.
"""

import contextlib
import time
import uuid
from functools import cache
from typing import Any

import redis

from guardian import news
from guardian.closing import NotLiftedError
from guardian.guardian import Guardian
from guardian.money import Money
from guardian.rounds import Rounds
from tlfif import aws, environment, names, nodes, replies
from tlfif.calling import Caller
from tlfif.log import log
from tlfif.queue import guarding, rounds, scripts
from tlfif.queue.guarding import Reconciliation

# Of the function's 50 s: the last batch of replies may take a moment after that.
WORK_S = 40.0
AWS_TIMEOUT_S = 3.0
# A command waits for the run that is under way, as long as that may work.
COMMAND_WAITS_S, COMMAND_RETRY_S = 45.0, 0.5
# What an operator is told.
Answer = dict[str, Any]


@cache
def services() -> tuple[Caller, Any, Any, Rounds]:
    """Made once per execution environment: fleet, queue and who calls the lane; EC2 and S3; and the
    rounds, whose count of the money remembers what S3 does not give.
    """
    fleet = environment.Guardian.read()
    queue = scripts.connect(fleet.redis_host, fleet.redis_port, timeout_s=2.0)
    ec2, s3 = nodes.client(AWS_TIMEOUT_S), replies.client(AWS_TIMEOUT_S)
    looks = Rounds(queue, ec2, s3, fleet, Money(queue, s3, fleet.replies_bucket))
    return Caller(queue, fleet, AWS_TIMEOUT_S), ec2, s3, looks


def handler(event: object, context: Any) -> Answer | None:
    """The Lambda entry point.

    A queue that does not answer fails the run, which counts as an error of the function. While
    another run is under way (Lambda may deliver an event twice), there is nothing to do.
    `{"command": "unlatch"}` and `{"command": "reset_breaker"}` are an operator's, and answered.
    """
    if isinstance(event, dict) and "command" in event:
        return _obey(str(event["command"]))
    caller, _, _, looks = services()
    client = caller.redis
    # Of this run alone: Lambda repeats an event under the same id.
    token = str(uuid.uuid4())
    try:
        begun = scripts.run(client, guarding.begin_run(names.GUARDIAN, token))
    except redis.RedisError:
        looks.without_queue(time.time())
        raise
    if not begun:
        log("run skipped", why="another is under way")
        return None
    done = False
    try:
        _guard(token)
        done = True
    finally:
        # Should the queue not hear of it, the lease ends by itself.
        with contextlib.suppress(redis.RedisError):
            scripts.run(client, guarding.end_run(names.GUARDIAN, token, done=done))
    news.tell(client, caller.fleet.stack)
    return None


def _guard(token: str) -> Reconciliation:
    caller, ec2, s3, looks = services()
    return Guardian(caller, ec2, s3, token, time.monotonic() + WORK_S, looks).run()


def _obey(command: str) -> Answer:
    """Does what an operator wants, beside no run; whether it was done, and one line."""
    client = services()[0].redis
    token, give_up_at = str(uuid.uuid4()), time.monotonic() + COMMAND_WAITS_S
    try:
        while not scripts.run(client, guarding.begin_run(names.GUARDIAN, token)):
            if time.monotonic() > give_up_at:
                return {"ok": False, "message": "the guardian is at work; try again in a minute"}
            time.sleep(COMMAND_RETRY_S)
        try:
            message = _commanded(command)
        finally:
            scripts.run(client, guarding.end_run(names.GUARDIAN, token, done=False))
    except NotLiftedError as error:
        return {"ok": False, "message": str(error)}
    except aws.Unavailable as error:
        return {"ok": False, "message": f"EC2 does not answer ({error}); try again"}
    except redis.RedisError as error:
        return {"ok": False, "message": f"the queue does not answer ({error}); try again"}
    log("command", command=command, message=message)
    return {"ok": True, "message": message}


def _commanded(command: str) -> str:
    caller, _, _, looks = services()
    client = caller.redis
    match command:
        case "unlatch":
            return looks.unlatch(time.time())
        case "reset_breaker":
            failed = scripts.run(client, rounds.mend())
            scripts.run(client, rounds.did("breaker reset", "an operator wanted it"))
            return f"{failed} failed boots are forgotten; the next job starts a node"
        case _:
            raise NotLiftedError(f"command = {command!r}: there are unlatch and reset_breaker")

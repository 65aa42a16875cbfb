"""Sends the queue's Lua scripts, by a blocking or an asyncio client.

The clients are redis-py's, with `decode_responses=True`; they raise `redis.RedisError` when the
server is gone, hung or refuses.

    python -m tlfif.queue.scripts accepting/accept

prints a script as it is sent.
"""

import hashlib
import inspect
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError
from redis.retry import Retry

from tlfif import names

T = TypeVar("T")
LUA = Path(__file__).parent / "lua"
TIMEOUT_S = 0.8

CONSTANTS = (
    "STREAM", "GROUP", "DEAD_STREAM", "NOBODY", "NODES", "STOP", "WAKE", "STARTS", "START_FAILURE",
    "LATCH", "BOOTS", "BOOT_STEPS", "PENDING_REPLIES", "SEARCH", "MONEY", "SAMPLES", "SAMPLING",
    "RUNS", "HEALTH_PROBE", "LANE", "LANE_OWNER", "LANE_WAKE", "LANE_CALLS", "LANE_FAILURE",
    "LANE_FIRSTS", "LANE_WORKS", "LANE_USE", "EMPTY_ZONES", "NEWS",
    "CLOSED", "BREAKER", "WATCHED", "GUARD",
)  # fmt: skip
KEYS = (names.job_key, names.cancelled_key, names.node_key, names.reply_key, names.run_key)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One script call: its path in `lua/` without suffix, keys, arguments, the answer's parser."""

    script: str
    keys: Sequence[str]
    args: Sequence[str | int | float]
    parse: Callable[[Any], T]


@cache
def source(script: str) -> tuple[str, str]:
    """The text of a script with what goes before it, and its SHA-1 as the server names it."""
    parts = [_names(), *((LUA / f"{each}.lua").read_text() for each in ("common", script))]
    text = "".join(parts)
    return text, hashlib.sha1(text.encode()).hexdigest()


@cache
def _names() -> str:
    """The keys of `names` as Lua's locals and functions, so that no script spells them again."""
    values = [f"local {each} = '{getattr(names, each)}'" for each in CONSTANTS]
    return "\n".join([*values, *map(_lua_function, KEYS)]) + "\n"


def _lua_function(key: Callable[..., str]) -> str:
    """A function that formats a key, in Lua: each argument becomes a concatenation."""
    parameters = list(inspect.signature(key).parameters)
    body = key(*(f"' .. {each} .. '" for each in parameters))
    return f"local function {key.__name__}({', '.join(parameters)}) return '{body}' end"


def connect(host: str, port: int, timeout_s: float = TIMEOUT_S) -> "redis.Redis":
    """Makes a blocking client that answers or fails within twice `timeout_s`.

    redis-py would retry ten times by default. One retry is right here: a Lambda that was frozen
    finds its connection dead, and every script is safe to send twice. A time-out is not retried:
    the caller is waiting. Nor does it greet the server: three round trips before the first command
    would use up a slow server's time.
    """
    return redis.Redis(
        host=host,
        port=port,
        decode_responses=True,
        protocol=2,
        driver_info=None,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


def run(client: "redis.Redis", call: Call[T]) -> T:
    """Sends the call; a server that does not know the script yet is given it."""
    text, sha = source(call.script)
    try:
        try:
            answer = client.evalsha(sha, len(call.keys), *call.keys, *call.args)
        except NoScriptError:
            answer = client.eval(text, len(call.keys), *call.keys, *call.args)
    except ReadOnlyError:
        # After a failover this connection leads to what is a replica now; the next one asks DNS
        # again.
        client.connection_pool.disconnect()
        raise
    return call.parse(answer)


async def arun(client: Any, call: Call[T]) -> T:
    """`run` for `redis.asyncio` clients."""
    text, sha = source(call.script)
    try:
        try:
            answer = await client.evalsha(sha, len(call.keys), *call.keys, *call.args)
        except NoScriptError:
            answer = await client.eval(text, len(call.keys), *call.keys, *call.args)
    except ReadOnlyError:
        await client.connection_pool.disconnect()
        raise
    return call.parse(answer)


class Clock:
    """The queue's clock as this process believes it to be: its own, until the queue was asked."""

    def __init__(self) -> None:
        self._ahead_ms = 0

    def now_ms(self) -> int:
        """In epoch ms."""
        return int(time.time() * 1000) + self._ahead_ms

    def ask(self, client: "redis.Redis") -> int:
        """Asks the queue for its time; by how many ms it is ahead. Raises redis.RedisError."""
        untyped: Any = client
        seconds, microseconds = untyped.time()
        self._ahead_ms = seconds * 1000 + microseconds // 1000 - int(time.time() * 1000)
        return self._ahead_ms


def pairs(flat: Sequence[str]) -> dict[str, str]:
    """A Redis hash as Lua returns it: name, value, name, value …"""
    return dict(zip(flat[::2], flat[1::2], strict=True))


if __name__ == "__main__":
    print(source(sys.argv[1])[0])

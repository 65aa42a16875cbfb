"""People who use the running system over HTTP, by the headless client."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from gui.client import FINAL, Client, Job, sign_in
from local.cloud import LocalCloud
from local.users import create_user

T = TypeVar("T")
Reply = dict[str, Any]

# One user asks ten times a second; API Gateway lets all of them together do so twenty times.
POLL_S = 0.1
# Only failures take so long.
WAIT_S = 120
# Short and greedy; the tests care for what becomes of an answer, never for what it says.
USUAL = {"idle_minutes": 30, "max_tokens": 4, "temperature": 0}
# The model answers it with as many tokens as it may.
LONG = "Write a long story about a lighthouse keeper and the sea."
_numbers = itertools.count(1)


class User:
    """Somebody with a token.

    Calls wait in threads of their own, because the test's loop is what serves them.
    """

    def __init__(self, client: Client, token: str, threads: ThreadPoolExecutor) -> None:
        self.client, self.token = client, token
        self._threads = threads

    async def ask(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """What a blocking call returns or raises."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, partial(function, *args, **options)
        )

    async def infer(self, prompt: str = "Say hello.", **options: Any) -> Job:
        return await self.ask(self.client.infer, prompt, **{**USUAL, **options})

    async def status(self) -> dict[str, Any]:
        return await self.ask(self.client.status)

    async def until_status(self, so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """GET /status, once it is so."""
        async with asyncio.timeout(WAIT_S):
            while True:
                status = await self.status()
                if so(status):
                    return status
                await asyncio.sleep(POLL_S)

    async def reply(self, job: Job) -> Reply | None:
        return await self.ask(self.client.reply, job.id)

    async def cancel(self, job: Job) -> str:
        return (await self.ask(self.client.cancel, job.id))["status"]

    async def begun(self, job: Job) -> Reply:
        """The reply of a job that runs, once it has some text."""
        reply = await self._until(job, lambda reply: bool(reply["text"]))
        assert reply["status"] == "running", reply
        return reply

    async def final(self, job: Job) -> Reply:
        return await self._until(job, lambda reply: False)

    async def _until(self, job: Job, enough: Callable[[Reply], bool]) -> Reply:
        async with asyncio.timeout(WAIT_S):
            while True:
                reply = await self.reply(job)
                if reply is not None and (enough(reply) or reply["status"] in FINAL):
                    return reply
                await asyncio.sleep(POLL_S)


@asynccontextmanager
async def using(api_url: str, token: str) -> AsyncIterator[User]:
    """A user of the API at an address."""
    threads = ThreadPoolExecutor(8, thread_name_prefix="user")
    with Client(api_url, token) as client:
        try:
            yield User(client, token, threads)
        finally:
            # Not waited for in this thread, whose loop serves what the calls still wait for.
            await asyncio.to_thread(threads.shutdown)


@asynccontextmanager
async def signed_in(cloud: LocalCloud) -> AsyncIterator[User]:
    """A new user of the cloud, and so one whom no rate limit has met."""
    name = f"user{next(_numbers)}@example.com"
    password = await asyncio.to_thread(create_user, cloud, name)
    client_id = cloud.output("user_pool_client_id")
    token = await asyncio.to_thread(sign_in, cloud.endpoint.url, client_id, name, password)
    async with using(cloud.api_url, token) as user:
        yield user

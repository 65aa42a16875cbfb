"""The HTTP side of Lambda's Runtime API: one connection of a runtime, request by request."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import h11

# The runtime client reports a fault's X-Ray document in one header of up to a megabyte.
_MAX_HEAD_BYTES = 2 << 20


class Runtime(Protocol):
    """Who answers the requests that arrive on a connection."""

    def handle(self, connection: "Connection", method: str, path: str, body: bytes) -> None:
        """Takes one request; `connection.respond` answers it, now or later."""

    def hang_up(self, connection: "Connection") -> None:
        """Hears that the runtime has closed a connection."""


class Connection(asyncio.Protocol):
    """HTTP/1.1 for one connection of a runtime.

    The runtime asks for its next event by a GET that stays unanswered until there is one, so an
    answer is sent by `respond` whenever it is known. Requests are not pipelined: h11 pauses until
    the answer to the one before is out.
    """

    def __init__(self, runtime: Runtime):
        self._runtime = runtime
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._request: h11.Request | None = None
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._runtime.hang_up(self)

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        try:
            while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                self._take(event)
        except h11.RemoteProtocolError:
            self._transport.close()

    def respond(
        self, status: int, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        """Sends one whole answer; the connection stays open for the next request."""
        length = ("Content-Length", str(len(body)))
        response = h11.Response(status_code=status, headers=[*headers, length])
        self._send(response, h11.Data(data=body), h11.EndOfMessage())
        if self._http.our_state is h11.MUST_CLOSE:
            self._transport.close()
        else:
            self._http.start_next_cycle()

    def _send(self, *events: h11.Event) -> None:
        self._transport.write(b"".join(self._http.send(event) or b"" for event in events))

    def _take(self, event: object) -> None:
        match event:
            case h11.Request():
                self._request, self._body = event, []
                # The native client announces large answers, and waits a second for the go-ahead.
                if self._http.they_are_waiting_for_100_continue:
                    self._send(h11.InformationalResponse(status_code=100, headers=[]))
            case h11.Data():
                self._body.append(bytes(event.data))
            case h11.EndOfMessage() if self._request is not None:
                method, path = self._request.method.decode(), self._request.target.decode()
                self._runtime.handle(self, method, path, b"".join(self._body))
            case h11.ConnectionClosed():
                self._transport.close()

"""Asks every minute, from inside the VPC, whether /ping and /queue-health are well (API-005).

Over IPv6 only: the VPC has no way out over IPv4, and its IPv6 block is what the routes' fence lets
in. So no name is resolved to an IPv4 address, which would be tried first and in vain.
"""

import http.client
import json
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from tlfif import emf, names
from tlfif.environment import PingProbe
from tlfif.log import log

TIMEOUT_S = 5.0
# The field of each route's answer that says ok.
ROUTES = {"/ping": "status", "/queue-health": "redis"}


def handler(event: object, context: object) -> dict[str, bool]:
    """The Lambda entry point: per route, whether it is well.

    Both are asked, whatever the first says.
    """
    told = PingProbe.read()
    began = time.perf_counter()
    ping = well(f"{told.api_url}/ping", ROUTES["/ping"])
    latency_ms = (time.perf_counter() - began) * 1000
    latency = {names.METRIC_PING_LATENCY_MS: round(latency_ms, 1)}
    emf.emit(names.NAMESPACE_API, told.stack, {names.METRIC_PING_SUCCESS: int(ping)})
    emf.emit(names.NAMESPACE_API, told.stack, latency, "Milliseconds")
    queue_health = well(f"{told.api_url}/queue-health", ROUTES["/queue-health"])
    return {"ping": ping, "queue-health": queue_health}


def well(url: str, field: str) -> bool:
    """Whether the route answers 200 and its body says `field` is ok."""
    try:
        status, body = get(url)
        well = status == 200 and json.loads(body)[field] == "ok"
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        log("probe", "ERROR", url=url, why=repr(error))
        return False
    level, shown = "INFO" if well else "ERROR", body[:200].decode(errors="replace")
    log("probe", level, url=url, status=status, body=shown)
    return well


def get(url: str) -> tuple[int, bytes]:
    """Status and body of a GET over IPv6. Raises OSError and http.client's errors."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    connection = _Connection(parts.hostname or "", parts.port or (443 if tls else 80))
    connection.tls = tls
    try:
        connection.request(
            "GET", parts.path, headers={"Accept": "application/json", "User-Agent": "tl-fif-probe"}
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection to the host's first IPv6 address."""

    tls = False

    def connect(self) -> None:
        found: Any = socket.getaddrinfo(self.host, self.port, socket.AF_INET6, socket.SOCK_STREAM)
        self.sock = socket.create_connection(found[0][4][:2], TIMEOUT_S)
        if self.tls:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)

"""Who may ask: pages of other sites cannot, by whatever name they call this machine, and nobody
without the key.
"""

import hmac
import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gui.bridge.errors import OpenAIError


class HostGuard:
    """Lets in requests whose Host names this machine: a site whose name was made to lead here
    (DNS rebinding) is in it by that name.

    With `any_address`, for a bridge that listens to others, every address does.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], *, any_address: bool) -> None:
        self._app, self._any_address = app, any_address
        self._names = {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) == 1 and self._may(_name(hosts[0])):
            await self._app(scope, receive, send)
            return
        error = OpenAIError(
            403,
            "The Host of this request is not this bridge; use 127.0.0.1 or localhost, or start it "
            "with --allow-host NAME.",
            type_="permission_error",
            code="host_not_allowed",
        )
        await _refuse(error, scope, receive, send)

    def _may(self, name: str) -> bool:
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return self._any_address or address.is_loopback


class KeyGuard:
    """Lets in requests with the bridge's own key, as OpenAI's clients send theirs."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._key)
        if same and scheme.lower() == "bearer":
            await self._app(scope, receive, send)
            return
        what = "is not the bridge's" if given else "is missing"
        error = OpenAIError(
            401,
            f"The API key {what}; send the one that the bridge names when it starts, as "
            "Authorization: Bearer KEY.",
            code="invalid_api_key",
        )
        await _refuse(error, scope, receive, send)


def _name(host: str) -> str:
    """The Host's name or address, without its port."""
    if host.startswith("[") and "]" in host:
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


async def _refuse(error: OpenAIError, scope: Scope, receive: Receive, send: Send) -> None:
    # A key that is wrong is so tomorrow, too.
    headers = {"x-should-retry": "false", **error.headers()}
    await JSONResponse(error.body(), error.status, headers)(scope, receive, send)

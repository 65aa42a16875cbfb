"""The local API Gateway: an ASGI app that serves a recorded REST API with API Gateway's own
semantics.

`Gateway._handled` is the chain that every request goes through, in AWS's order.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx

from local.apigateway.authorizer import Authorizers, check_table_a, resource_policy_effect
from local.apigateway.call import ApiCall, Response
from local.apigateway.integrations import CredentialsFor, Integrations
from local.apigateway.model import FrontEndError, GatewayError, Invoke
from local.apigateway.responses import (
    access_log_line,
    complete,
    front_end_response,
    gateway_response,
)
from local.apigateway.routing import Router
from local.apigateway.spec import GatewaySpec
from local.apigateway.throttle import Plans, Throttle
from local.apigateway.validation import (
    Receive,
    check_arn,
    check_headers,
    check_parameters,
    read_body,
)

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Gateway:
    """Serves one REST API; `app` is for the listener of the world, `inside_vpc` for one within the
    VPC.

    `invoke(function ARN, event)` returns what the function returned, or raises FunctionError or
    InvocationRefused. `credentials_for(role ARN)` gives the (access key id, secret) with which
    requests to `aws_endpoint` are signed; `access_log` gets one line for each request, and
    `answered` the request itself with its response. `transport` replaces the network towards
    `aws_endpoint`.
    """

    def __init__(
        self,
        spec: GatewaySpec,
        *,
        invoke: Invoke,
        aws_endpoint: str,
        credentials_for: CredentialsFor,
        access_log: Callable[[str], None],
        answered: Callable[[ApiCall, Response], None] = lambda call, response: None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._spec = spec
        self._access_log = access_log
        self._answered = answered
        self._http = httpx.AsyncClient(transport=transport, timeout=None, trust_env=False)
        self._router = Router(spec.resources)
        self.throttle = Throttle(spec.throttles)
        self._plans = Plans(spec.plans)
        self._authorizers = Authorizers(invoke)
        self._integrations = Integrations(invoke, aws_endpoint, credentials_for, self._http)
        self.app = self._app(None)

    async def _handled(self, call: ApiCall, receive: Receive) -> Response:
        """The chain of a request; each step raises what ends it."""
        check_headers(call)
        call.body = await read_body(call, receive)
        method = self._router.route(call)
        self.throttle.admit(method)
        check_arn(call, method)
        resource = resource_policy_effect(call)
        authorizer = await self._authorizers.effect(call, method)
        check_table_a(call, method, authorizer, resource)
        self._plans.admit(call, method)
        check_parameters(call, method)
        return await self._integrations.run(call, method)

    async def _response(self, call: ApiCall, receive: Receive) -> Response:
        try:
            return await self._handled(call, receive)
        except FrontEndError as error:
            return front_end_response(error)
        except GatewayError as error:
            call.error = error
        except Exception:
            _log.exception("%s %s", call.method, call.path)
            call.error = GatewayError("DEFAULT_5XX")
        if call.error.status >= 500:
            _log.warning("%s %s: %s: %s", call.method, call.path, call.error.kind, call.error)
        return gateway_response(call, call.error)

    def inside_vpc(self, source_ip: str) -> App:
        """The same API for callers within the VPC: they come from this address, whatever their
        connection's is.
        """
        return self._app(source_ip)

    async def aclose(self) -> None:
        """Closes the connections to AWS's endpoint."""
        await self._http.aclose()

    def _app(self, source_ip: str | None) -> App:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                raise RuntimeError(f"the gateway serves HTTP, not {scope['type']}")
            call = ApiCall.from_scope(self._spec, scope, source_ip)
            response = complete(call, await self._response(call, receive))
            await _send(send, response, with_body=call.method != "HEAD")
            self._answered(call, response)
            if self._spec.access_log is not None:
                self._access_log(access_log_line(self._spec.access_log, call, response))

        return app


async def _send(send: Send, response: Response, *, with_body: bool) -> None:
    headers = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body if with_body else b""})

"""Routing: the method of the API that a request is for."""

from collections.abc import Mapping

from local.apigateway.call import ApiCall
from local.apigateway.model import FrontEndError, GatewayError, Method


class Router:
    """Finds methods; `resources` maps path templates to their methods by name."""

    def __init__(self, resources: Mapping[str, Mapping[str, Method]]) -> None:
        paths = [(_PathTemplate(template), methods) for template, methods in resources.items()]
        self._paths = sorted(paths, key=lambda path: path[0].rank)

    def route(self, call: ApiCall) -> Method:
        """The method called; the call learns of it and of its path parameters.

        Raises FrontEndError for another stage, GatewayError when there is no such method.
        """
        if not call.path:
            raise FrontEndError(403, "Forbidden")
        # Trailing slashes do not count, nothing else is normalised.
        segments = call.path.rstrip("/").split("/")[1:]
        for template, methods in self._paths:
            found = template.match(segments)
            if found is not None and (method := methods.get(call.method)):
                call.target, call.path_parameters = method, found
                return method
        raise GatewayError("MISSING_AUTHENTICATION_TOKEN")


class _PathTemplate:
    """A resource's path, ranked: fixed segments before parameters."""

    def __init__(self, template: str) -> None:
        self._segments = template.rstrip("/").split("/")[1:]
        self.rank = [(segment.startswith("{"), segment) for segment in self._segments]

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The raw values of its parameters, None if it is another path; a parameter is never
        empty.
        """
        if len(segments) != len(self._segments):
            return None
        found: dict[str, str] = {}
        for own, given in zip(self._segments, segments, strict=True):
            if own.startswith("{") and given:
                found[own.strip("{}")] = given
            elif own != given:
                return None
        return found

"""What a mapping template touches while it renders: `$input`, `$context`, overrides, null."""

import json
from collections.abc import Mapping
from typing import Any


class VtlError(Exception):
    """A template that API Gateway would not accept or not render, or that is not supported here;
    the message says where and why.
    """


class JsonBodyError(VtlError):
    """The body that `$input.json` reads is not JSON."""


class Null:
    """Velocity's null: it prints nothing, and its properties are null.

    Nobody documents which Velocity API Gateway runs, and they differ in whether null is true: so
    an #if on null, or on a method of it, is an error.
    """

    def __str__(self) -> str:
        return ""

    def __getitem__(self, name: str) -> "Null":
        return self

    def __bool__(self) -> bool:
        raise VtlError(
            "what it renders depends on whether null counts as true, which differs from one"
            ' Velocity to the next; make it a text first, as in #set($text = "$!value")'
        )

    def __call__(self, *arguments: object) -> bool:
        return bool(self)


NULL = Null()


class Values(dict[str, Any]):
    """`$context` and the maps in it, all values as texts; one that is not there is null."""

    def __init__(self, raw: Mapping[str, object]) -> None:
        super().__init__({name: _value(value) for name, value in raw.items()})

    def __missing__(self, name: str) -> Null:
        return NULL


def _value(value: object) -> object:
    if isinstance(value, Mapping):
        return Values(value)
    if isinstance(value, bool):
        return str(value).lower()
    return NULL if value is None else str(value)


class Parameters:
    """The request's parameters of one kind."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def get(self, name: str) -> str | Null:
        """One parameter; names are case-sensitive."""
        return self._values.get(name, NULL)


class Input:
    """`$input`: the body and the parameters of the request (in a response template: the
    integration's body).
    """

    def __init__(self, body: str, params: Mapping[str, Mapping[str, str]]) -> None:
        """`params` has the maps `path`, `querystring` and `header`, searched in that order."""
        self._body = body
        self._params = {kind: params.get(kind, {}) for kind in ("path", "querystring", "header")}

    def json(self, path: str) -> str:
        """The part at `$` or `$.a.b`, as JSON; a part that is not there is `""`."""
        try:
            value = json.loads(self._body or "{}")
        except ValueError as error:
            raise JsonBodyError(f"Could not parse request body into json: {error}") from error
        for key in path.split(".")[1:]:
            value = value.get(key) if isinstance(value, dict) else None
        return json.dumps("" if value is None else value, ensure_ascii=False, separators=(",", ":"))

    def params(self, name: str | None = None) -> str | dict[str, Parameters]:
        """One parameter (empty when absent, names are case-sensitive), or all of them by kind."""
        if name is None:
            return {kind: Parameters(values) for kind, values in self._params.items()}
        return next((values[name] for values in self._params.values() if name in values), "")


class SetOnce(dict[str, object]):
    """Override values of one kind: API Gateway answers 5XX when the same one is set twice."""

    def __setitem__(self, key: str, value: object) -> None:
        if key in self:
            raise VtlError(
                f"override {key!r} is set twice; an override is final: set it once, at the end"
            )
        if value is NULL:
            raise VtlError(f"override {key!r} is set to null; give it a value or leave it unset")
        super().__setitem__(key, value)

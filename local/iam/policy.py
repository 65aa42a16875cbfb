"""IAM policy documents, read and evaluated: resource policies, roles' policies, an authorizer's.

Whatever a document says that is not known here is a PolicyError: a rule that is not understood
proves nothing and guards nothing.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

Effect = Literal["Allow", "Deny"]
# A request's condition keys, in lower case; a key may have several values.
Context = Mapping[str, str | tuple[str, ...]]

STATEMENT_KEYS = {"Sid", "Effect", "Action", "Resource", "Principal", "Condition"}
EVERYBODY = ("*", {"AWS": "*"}, {"AWS": ["*"]})


class PolicyError(ValueError):
    """A policy or a request that is malformed or not understood; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One operator on one condition key; `key` in lower case, as IAM compares keys."""

    operator: str
    key: str
    values: tuple[str, ...]

    def holds(self, context: Context) -> bool:
        """Whether the request's values of the key satisfy the operator."""
        return OPERATORS[self.operator](context.get(self.key), self.values)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement; actions and resources may have wildcards."""

    sid: str
    effect: Effect
    has_principal: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...]

    def applies(self, action: str, resource: str, context: Context) -> bool:
        """Whether the statement speaks of this action (whatever its case) on this resource, now."""
        return (
            any(_like(action.lower(), pattern.lower()) for pattern in self.actions)
            and any(_like(resource, pattern) for pattern in self.resources)
            and all(condition.holds(context) for condition in self.conditions)
        )

    @classmethod
    def parse(cls, raw: Any, api_arn: str = "") -> "Statement":
        """From a document's Statement; `api_arn` completes resources such as `execute-api:/*`.

        Raises PolicyError.
        """
        if not isinstance(raw, dict) or raw.get("Effect") not in ("Allow", "Deny"):
            raise PolicyError(f"a statement's Effect is Allow or Deny, not {_short(raw)}")
        if unknown := set(raw) - STATEMENT_KEYS:
            known = ", ".join(sorted(STATEMENT_KEYS))
            raise PolicyError(f"policy key {min(unknown)!r} is not supported; there are {known}")
        if raw.get("Principal", "*") not in EVERYBODY:
            raise PolicyError(f"principal {raw['Principal']!r} is not supported; only '*' is")
        if "Action" not in raw or "Resource" not in raw:
            raise PolicyError("a statement needs Action and Resource")
        resources = _texts(raw["Resource"], "Resource")
        return cls(
            sid=raw.get("Sid", ""),
            effect=raw["Effect"],
            has_principal="Principal" in raw,
            actions=_texts(raw["Action"], "Action"),
            resources=tuple(_completed(resource, api_arn) for resource in resources),
            conditions=_conditions(raw.get("Condition", {})),
        )


@dataclass(frozen=True)
class Policy:
    """A policy's statements."""

    statements: tuple[Statement, ...]

    @classmethod
    def parse(cls, document: Any, api_arn: str = "") -> "Policy":
        """From a policy document; `api_arn` as in `Statement.parse`. Raises PolicyError."""
        raw = document.get("Statement") if isinstance(document, dict) else None
        if not isinstance(raw, (list, dict)):
            raise PolicyError(f"a policy is a map with a Statement, not {_short(document)}")
        return cls(tuple(Statement.parse(each, api_arn) for each in _listed(raw)))

    def effect(self, action: str, resource: str, context: Context) -> Effect | None:
        """Deny before Allow; None when no statement applies."""
        effects = {
            statement.effect
            for statement in self.statements
            if statement.applies(action, resource, context)
        }
        return "Deny" if "Deny" in effects else "Allow" if "Allow" in effects else None


def _conditions(raw: Any) -> tuple[Condition, ...]:
    if not isinstance(raw, dict) or not all(isinstance(keys, dict) for keys in raw.values()):
        raise PolicyError(f"a Condition maps operators to keys, not {_short(raw)}")
    if unknown := set(raw) - set(OPERATORS):
        known = ", ".join(OPERATORS)
        raise PolicyError(
            f"condition operator {min(unknown)!r} is not supported; there are {known}"
        )
    return tuple(
        Condition(operator=operator, key=key.lower(), values=_texts(values, key))
        for operator, keys in raw.items()
        for key, values in keys.items()
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _texts(value: Any, name: str) -> tuple[str, ...]:
    texts = _listed(value)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise PolicyError(f"{name} is a text or a list of them, not {_short(value)}")
    return tuple(texts)


def _short(value: Any) -> str:
    return json.dumps(value)[:80]


def _completed(resource: str, api_arn: str) -> str:
    shorthand = "execute-api:/"
    if not resource.startswith(shorthand):
        return resource
    return f"{api_arn}/{resource.removeprefix(shorthand)}"


# --- operators

Given = str | tuple[str, ...] | None
Operator = Callable[[Given, tuple[str, ...]], bool]


def _any(test: Callable[[str, str], bool]) -> Operator:
    """Holds when the one value of the key passes for one of those wanted; never without a value."""
    return lambda given, wanted: (
        isinstance(given, str) and any(test(given, each) for each in wanted)
    )


def _none(test: Callable[[str, str], bool]) -> Operator:
    """The negated operator: holds without a value, too."""
    holds = _any(test)
    return lambda given, wanted: not holds(given, wanted)


def _all_equal(given: Given, wanted: tuple[str, ...]) -> bool:
    """Every one of several values; none is fine too, as IAM has it."""
    values = (given,) if isinstance(given, str) else given or ()
    return set(values) <= set(wanted)


def _any_equal(given: Given, wanted: tuple[str, ...]) -> bool:
    """One of several values at least; never without a value."""
    values = (given,) if isinstance(given, str) else given or ()
    return not set(values).isdisjoint(wanted)


def _null(given: Given, wanted: tuple[str, ...]) -> bool:
    """`Null: {key: "true"}` holds when the key is absent."""
    return wanted == (str(given is None).lower(),)


def _like(value: str, pattern: str) -> bool:
    return _wildcard(pattern).fullmatch(value) is not None


@lru_cache(maxsize=1024)
def _wildcard(pattern: str) -> re.Pattern[str]:
    """IAM's wildcards: `*` is anything, slashes too, `?` one character."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(char) or re.escape(char) for char in pattern), re.S)


def _within(address: str, cidr: str) -> bool:
    # An address of the other family is in no block.
    return ipaddress.ip_address(address) in _network(cidr)


@lru_cache(maxsize=256)
def _network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(cidr, strict=False)
    except ValueError as error:
        raise PolicyError(f"{cidr!r} is not an address block: {error}") from error


OPERATORS: dict[str, Operator] = {
    "ArnEquals": _any(_like),
    "ForAllValues:StringEquals": _all_equal,
    "ForAnyValue:StringEquals": _any_equal,
    "IpAddress": _any(_within),
    "NotIpAddress": _none(_within),
    "Null": _null,
    "StringEquals": _any(str.__eq__),
    "StringNotEquals": _none(str.__eq__),
    "StringLike": _any(_like),
    "StringNotLike": _none(_like),
}

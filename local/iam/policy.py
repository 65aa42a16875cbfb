"""Policies that guard the gateway: a REST API's resource policy and those that its authorizer
returns.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

Effect = Literal["Allow", "Deny"]
ACTION = "execute-api:invoke"
STATEMENT_KEYS = {"Sid", "Effect", "Action", "Resource", "Principal", "Condition"}


class PolicyError(ValueError):
    """A policy document that is malformed or uses what the evaluator does not know."""


@dataclass(frozen=True)
class _Condition:
    operator: str
    key: str
    values: tuple[str, ...]

    def holds(self, request: Mapping[str, str]) -> bool:
        value = request.get(self.key.lower())
        test, negated = OPERATORS[self.operator]
        if value is None:  # a key that the request does not have: only a negated operator holds
            return negated
        return any(test(value, wanted) for wanted in self.values) != negated


@dataclass(frozen=True)
class _Statement:
    effect: Effect
    resources: tuple[re.Pattern[str], ...]
    conditions: tuple[_Condition, ...]

    def applies(self, arn: str, request: Mapping[str, str]) -> bool:
        named = any(pattern.fullmatch(arn) for pattern in self.resources)
        return named and all(condition.holds(request) for condition in self.conditions)


class Policy:
    """A policy document, checked when made: what it uses and is not known here is a PolicyError."""

    def __init__(self, document: Any, api_arn: str) -> None:
        """`api_arn` (arn:aws:execute-api:region:account:api-id) completes resources of the form
        `execute-api:/...`.
        """
        if not isinstance(document, dict) or not isinstance(
            document.get("Statement"), (list, dict)
        ):
            raise PolicyError(
                f"a policy is a map with a list under Statement, not {json.dumps(document)[:80]}"
            )
        statements = [_statement(raw, api_arn) for raw in _listed(document["Statement"])]
        self._statements = [statement for statement in statements if statement]

    def effect(self, arn: str, request: Mapping[str, str]) -> Effect | None:
        """Deny before Allow; None when no statement applies.

        `request` maps condition keys in lower case.
        """
        effects = {
            statement.effect for statement in self._statements if statement.applies(arn, request)
        }
        return "Deny" if "Deny" in effects else "Allow" if "Allow" in effects else None


def _statement(raw: Any, api_arn: str) -> _Statement | None:
    if not isinstance(raw, dict) or raw.get("Effect") not in ("Allow", "Deny"):
        raise PolicyError(f"a statement's Effect is Allow or Deny, not {json.dumps(raw)[:80]}")
    if unknown := set(raw) - STATEMENT_KEYS:
        raise PolicyError(
            f"policy key {min(unknown)!r} is not supported; there are {', '.join(sorted(STATEMENT_KEYS))}"
        )
    if raw.get("Principal", "*") not in ("*", {"AWS": "*"}, {"AWS": ["*"]}):
        raise PolicyError(f"principal {raw['Principal']!r} is not supported; only '*' is")
    if "Action" not in raw or "Resource" not in raw:
        raise PolicyError("a statement needs Action and Resource")
    if not any(
        _wildcard(action.lower()).fullmatch(ACTION) for action in _texts(raw["Action"], "Action")
    ):
        return None
    resources = tuple(
        _wildcard(_full_arn(text, api_arn)) for text in _texts(raw["Resource"], "Resource")
    )
    return _Statement(raw["Effect"], resources, tuple(_conditions(raw.get("Condition", {}))))


def _conditions(raw: Any) -> list[_Condition]:
    if not isinstance(raw, dict) or not all(isinstance(keys, dict) for keys in raw.values()):
        raise PolicyError(f"a Condition maps operators to keys, not {json.dumps(raw)[:80]}")
    if unknown := set(raw) - set(OPERATORS):
        raise PolicyError(
            f"condition operator {min(unknown)!r} is not supported; there are {', '.join(OPERATORS)}"
        )
    return [
        _Condition(operator, key, tuple(_texts(values, key)))
        for operator, keys in raw.items()
        for key, values in keys.items()
    ]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _texts(value: Any, name: str) -> list[str]:
    texts = _listed(value)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise PolicyError(f"{name} is a text or a list of them, not {json.dumps(value)[:80]}")
    return texts


def _full_arn(resource: str, api_arn: str) -> str:
    return (
        f"{api_arn}/{resource.removeprefix('execute-api:/')}"
        if resource.startswith("execute-api:/")
        else resource
    )


@lru_cache(maxsize=256)
def _wildcard(pattern: str) -> re.Pattern[str]:
    """IAM's wildcards: `*` is anything, slashes too, `?` one character."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(char) or re.escape(char) for char in pattern), re.S)


@lru_cache(maxsize=256)
def _network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(cidr, strict=False)
    except ValueError as error:
        raise PolicyError(f"{cidr!r} is not an address block: {error}") from error


def _within(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in _network(
        cidr
    )  # an address of the other family is in none


def _like(value: str, pattern: str) -> bool:
    return _wildcard(pattern).fullmatch(value) is not None


# Operator → (test of one value, whether the operator negates it).
OPERATORS: dict[str, tuple[Callable[[str, str], bool], bool]] = {
    "IpAddress": (_within, False),
    "NotIpAddress": (_within, True),
    "StringEquals": (str.__eq__, False),
    "StringNotEquals": (str.__eq__, True),
    "StringLike": (_like, False),
    "StringNotLike": (_like, True),
}

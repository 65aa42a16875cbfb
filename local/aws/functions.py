"""What moto's Lambda has of a function: its versions with their settings, and its aliases."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from local.aws.moto import Moto
from local.lambda_.model import LATEST, FunctionSpec
from local.lambda_.versions import Alias, Published

SpecOf = Callable[[Mapping[str, Any]], FunctionSpec]


async def published(moto: Moto, name: str, spec_of: SpecOf) -> Published:
    """The versions and aliases of one function; `spec_of` reads a version's settings."""
    return await asyncio.to_thread(_published, moto, name, spec_of)


def _published(moto: Moto, name: str, spec_of: SpecOf) -> Published:
    client = moto.client("lambda")
    versions = client.list_versions_by_function(FunctionName=name)["Versions"]
    aliases = client.list_aliases(FunctionName=name)["Aliases"]
    return Published(
        {each["Version"]: spec_of(each) for each in versions},
        {each["Name"]: _alias(each) for each in aliases},
    )


def _alias(told: Mapping[str, Any]) -> Alias:
    weights = (told.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    return Alias(told["FunctionVersion"], weights)


def split(name: str) -> tuple[str, str]:
    """The name and the qualifier of a function given by name or ARN, "" without one."""
    named = name.partition(":function:")[2] or name
    function, _, qualifier = named.partition(":")
    return function, "" if qualifier == LATEST else qualifier

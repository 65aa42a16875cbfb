"""A recording as a Terraform JSON configuration.

Pulumi's provider is made from Terraform's, so the names are the same but for case, plurals and the
few that recording/kinds/ tells; everything else is looked up in the schema that the installed
provider gives of itself.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_network
from typing import Any

from recording.engine import SECRET
from recording.kinds import kind_of
from recording.kinds.kind import Kind
from recording.model import Resource
from recording.references import Linked, Reference

PROVIDER = "registry.terraform.io/hashicorp/aws"
Json = dict[str, Any]

_TOKEN = re.compile(r"ref[0-9a-f]{24}")
_NETWORK = re.compile(r"[0-9a-f]{1,4}(?::[0-9a-f]{0,4})+/\d+")
_OFFLINE = {
    "access_key": "none",
    "secret_key": "none",
    "skip_credentials_validation": True,
    "skip_metadata_api_check": "true",
    "skip_region_validation": True,
    "skip_requesting_account_id": True,
    "max_retries": 0,
}


@dataclass(frozen=True, kw_only=True)
class NewerProperty:
    """A property that the installed provider does not know yet; `member` is the API's own, as
    botocore models it.
    """

    type: str
    path: str
    service: str
    operation: str
    member: str
    why: str


# Left out of the translation, each for a reason; one that is no longer needed is an error.
NEWER = (
    NewerProperty(
        type="aws_synthetics_canary",
        path="vpcConfig.ipv6AllowedForDualStack",
        service="synthetics",
        operation="CreateCanary",
        member="VpcConfig.Ipv6AllowedForDualStack",
        why="5.100.0 runs canaries over IPv4 only; ours leave the VPC over IPv6",
    ),
    NewerProperty(
        type="aws_imagebuilder_image_pipeline",
        path="loggingConfiguration",
        service="imagebuilder",
        operation="CreateImagePipeline",
        member="loggingConfiguration",
        why="5.100.0 leaves logs to groups of Image Builder's own; ours have a retention",
    ),
)


class TranslationError(ValueError):
    """The recording cannot be said in Terraform's terms; the message names every resource and
    property.
    """


def translate(
    linked: Linked, schema: Json, newer: Sequence[NewerProperty] = NEWER
) -> tuple[Json, set[NewerProperty]]:
    """The recording as one Terraform JSON configuration, and which of `newer` had to be left out.

    `schema` is the provider's: resource type to its block. TranslationError for whatever else has
    no place in it.
    """
    translation = _Translation(linked, schema, newer)
    configuration = translation.configuration()
    if translation.problems:
        raise TranslationError("\n".join(sorted(translation.problems)))
    return configuration, translation.left_out


def terraform_type(token: str, schema: Json) -> str | None:
    """The provider's resource type for one of Pulumi's, such as `aws_vpc` for aws:ec2/vpc:Vpc; None
    without one.
    """
    _, module, name = token.split(":")
    service, snake = module.split("/")[0], _snake(name)
    candidates = (kind_of(token).terraform, f"aws_{service}_{snake}", f"aws_{snake}")
    return next((candidate for candidate in candidates if candidate in schema), None)


class _Translation:
    """One recording on its way: collects what has no place in the schema while it goes."""

    def __init__(self, linked: Linked, schema: Json, newer: Sequence[NewerProperty]) -> None:
        self._linked, self._schema, self._newer = linked, schema, newer
        self._referenced: set[str] = set()
        self.problems: list[str] = []
        self.left_out: set[NewerProperty] = set()

    def configuration(self) -> Json:
        configuration: Json = {
            "terraform": {"required_providers": {"aws": {"source": PROVIDER}}},
            "provider": {"aws": {**_OFFLINE, "region": self._linked.region}},
            "resource": self._resources(),
            "output": self._outputs(),
        }
        # Terraform takes no empty sections.
        return {section: content for section, content in configuration.items() if content}

    def _outputs(self) -> Json:
        outputs = sorted(self._linked.recording.outputs.items())
        return {name: {"value": self._text(value)} for name, value in outputs}

    def _resources(self) -> Json:
        resources: Json = {}
        for resource in self._linked.recording.resources:
            if resource.custom:
                self._add(resource, resources)
        return resources

    def _add(self, resource: Resource, resources: Json) -> None:
        name, token = resource.name, resource.type
        type_ = self._type(token)
        if type_ is None:
            self.problems.append(f"{name}: the provider has no resource for {token}")
        elif name in resources.setdefault(type_, {}):
            self.problems.append(f"{name}: two resources of type {token} have this name")
        else:
            resources[type_][name] = self._resource(type_, resource)

    def _type(self, token: str) -> str | None:
        return terraform_type(token, self._schema)

    def _resource(self, type_: str, resource: Resource) -> Json:
        self._referenced = set()
        kind, block = kind_of(resource.type), self._schema[type_]["block"]
        place = _Place(type_, kind.attributes, resource.name)
        body = self._block(place, resource.inputs, block)
        # Named as Pulumi would: names have limits that only the provider knows.
        attribute = _attribute(kind.attributes, kind.name_property)
        if attribute not in body and _settable(block["attributes"].get(attribute)):
            body[attribute] = self._linked.names[resource.type, resource.name]
        if lifecycle := self._lifecycle(resource, kind, block):
            body["lifecycle"] = lifecycle
        waits = {self._address(urn) for urn in resource.dependencies} - self._referenced
        return {**body, "depends_on": sorted(waits)} if waits else body

    def _lifecycle(self, resource: Resource, kind: Kind, block: Json) -> Json:
        """What Pulumi's options say; its engine makes the new one first unless told otherwise."""
        known = [*block.get("attributes", {}), *block.get("block_types", {})]
        places = [(path, _path(path, kind.attributes, known)) for path in resource.ignore_changes]
        self.problems += [
            f"{resource.name}: ignores {path}, which has no place"
            for path, found in places
            if not found
        ]
        options = {
            "create_before_destroy": not resource.delete_before_replace,
            "prevent_destroy": resource.protect,
            "ignore_changes": [found for _, found in places if found],
        }
        return {name: value for name, value in options.items() if value}

    def _address(self, urn: str) -> str:
        *_, types, name = urn.split("::")
        token = types.rpartition("$")[2]
        return f"{self._type(token) or token}.{name}"

    def _block(self, place: "_Place", value: Json, block: Json) -> Json:
        attributes, blocks = block.get("attributes", {}), block.get("block_types", {})
        body: Json = {}
        for name, item in value.items():
            inner = place.inside(name)
            found = place.renamed.get(inner.path) or _find(name, [*attributes, *blocks])
            if found is None:
                self._unmapped(inner)
            elif item == SECRET and attributes.get(found, {}).get("computed"):
                # A recording hides it; AWS makes one up, as for whoever gives none.
                continue
            elif found in attributes:
                body[found] = self._value(inner, item, attributes[found])
            else:
                body[found] = self._blocks(inner, item, blocks[found]["block"])
        return body

    def _blocks(self, place: "_Place", value: Any, block: Json) -> list[Json]:
        return [self._block(place, item, block) for item in _items(value)]

    def _value(self, place: "_Place", value: Any, attribute: Json) -> Any:
        if "nested_type" not in attribute:
            return self._typed(place, value, attribute["type"])
        nested = attribute["nested_type"]
        bodies = self._blocks(place, value, nested)
        return bodies if nested["nesting_mode"] in ("list", "set") else bodies[0]

    def _typed(self, place: "_Place", value: Any, type_: Any) -> Any:
        match type_:
            case ["list" | "set", inner]:
                return [self._typed(place, item, inner) for item in _items(value)]
            case ["map", inner] if isinstance(value, dict):
                return {key: self._typed(place, item, inner) for key, item in value.items()}
            case ["object", inner] if isinstance(value, dict):
                attributes = {name: {"type": each} for name, each in inner.items()}
                return self._block(place, value, {"attributes": attributes})
            case str() if not isinstance(value, dict | list):
                return self._text(value)
        self.problems.append(f"{place}: {value!r} is no {type_}")
        return None

    def _unmapped(self, place: "_Place") -> None:
        here = [each for each in self._newer if (each.type, each.path) == (place.type, place.path)]
        self.left_out.update(here)
        if not here:
            self.problems.append(f"{place}: the provider's {place.type} has no such property")

    def _text(self, value: Any) -> Any:
        """A value as Terraform reads it: its own templates escaped, tokens turned into
        references.
        """
        if isinstance(value, list):
            return [self._text(item) for item in value]
        if isinstance(value, dict):
            return {key: self._text(item) for key, item in value.items()}
        if not isinstance(value, str):
            return value
        escaped = value.replace("${", "$${").replace("%{", "%%{")
        return _TOKEN.sub(self._token, _NETWORK.sub(self._network, escaped))

    def _token(self, found: re.Match[str]) -> str:
        return f"${{{self._reference(self._linked.references[found[0]])}}}"

    def _network(self, found: re.Match[str]) -> str:
        """A part of a network that AWS hands out as a function of it, any other as it is."""
        try:
            part = ip_network(found[0])
        except ValueError:
            return found[0]
        for known, reference in self._linked.networks.items():
            whole = ip_network(known)
            if (
                isinstance(part, IPv6Network)
                and isinstance(whole, IPv6Network)
                and part.subnet_of(whole)
            ):
                return f"${{{_part(self._reference(reference), whole, part)}}}"
        return found[0]

    def _reference(self, reference: Reference) -> str:
        address = f"{self._type(reference.type) or reference.type}.{reference.name}"
        self._referenced.add(address)
        attribute = _attribute(kind_of(reference.type).attributes, reference.output)
        return f"{address}.{attribute}"


@dataclass(frozen=True)
class _Place:
    """Where in a resource: for messages, and to look up what is special there."""

    type: str
    renamed: Mapping[str, str]
    resource: str
    path: str = ""

    def inside(self, name: str) -> "_Place":
        path = f"{self.path}.{name}" if self.path else name
        return _Place(self.type, self.renamed, self.resource, path)

    def __str__(self) -> str:
        return f"{self.resource}.{self.path}"


def _items(value: Any) -> list[Any]:
    """The items of a list; Pulumi flattens lists that hold one item at most."""
    return value if isinstance(value, list) else [value]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _attribute(renamed: Mapping[str, str], output: str) -> str:
    return renamed.get(output) or _snake(output)


def _find(name: str, known: Sequence[str]) -> str | None:
    """The provider's name of a property: the same in snake case, or its singular, as Pulumi's lists
    are plural.
    """
    snake = _snake(name)
    singular = (re.sub(r"ies$", "y", snake), re.sub(r"es$", "", snake), re.sub(r"s$", "", snake))
    return next((candidate for candidate in (snake, *singular) if candidate in known), None)


def _path(path: str, renamed: Mapping[str, str], known: Sequence[str]) -> str | None:
    """A property or one key of a map, such as `tags["owner"]` or `tags.owner`, in Terraform's
    terms; None for what has no such place.
    """
    parts = re.fullmatch(r"""(\w+)(?:\.([\w:-]+)|\["([^"]+)"\])?""", path)
    found = parts and (renamed.get(parts[1]) or _find(parts[1], known))
    if not (parts and found):
        return None
    key = parts[2] or parts[3]
    return f'{found}["{key}"]' if key else found


def _part(reference: str, whole: IPv6Network, part: IPv6Network) -> str:
    if whole == part:
        return reference
    number = (int(part.network_address) - int(whole.network_address)) >> (128 - part.prefixlen)
    return f"cidrsubnet({reference}, {part.prefixlen - whole.prefixlen}, {number})"


def _settable(attribute: Json | None) -> bool:
    return attribute is not None and bool(attribute.get("optional") or attribute.get("required"))

"""What one AWS resource type is to the recordings, to Terraform and to the local cloud."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One AWS resource type.

    token: Pulumi's name of the type, such as `aws:ec2/vpc:Vpc`.
    shape: what AWS adds to the inputs, by the provider's property names, as recordings invent it.
        Texts are format strings over the inputs, `name`, `region`, `account`, `hex` (64 digits that
        are the resource's own) and the shape's own `id` and `arn`.
    emulated: by which part of the local cloud, if one does what AWS does with it.
    inert: why it does nothing in the local cloud, if so. A kind that is neither is made in moto, by
        its maker in local/deployment/kinds/.
    replaced_by: the inputs of which some change can only be made by a replacement, as the real
        provider says; with a dot where it is only a part of one, such as `device.encrypted`.
    terraform: the Terraform provider's resource type, where no rule derives it from the token.
    attributes: Terraform's attribute for a property, where it is more than case and plural.
    name_property: the property that Pulumi fills in when the program gives the resource no name.
    name_limit: how many characters AWS allows of that name; 0 for a type without one.
    name_pattern: a regular expression that the whole name matches, if AWS says one.
    computed_on: outputs that the program computes with: they are never unknown.
    """

    token: str
    shape: Mapping[str, Any] = field(default_factory=lambda: {"id": "{name}"})
    emulated: str = ""
    inert: str = ""
    replaced_by: frozenset[str] = frozenset()
    terraform: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    name_property: str = "name"
    name_limit: int = 0
    name_pattern: str = ""
    computed_on: frozenset[str] = frozenset()

    @property
    def made(self) -> bool:
        """Whether the local cloud makes it in moto."""
        return not (self.emulated or self.inert)

    def replacing(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
        """The inputs for which the one version of a resource can only become the other by a
        replacement.
        """
        differing = (path for path in self.replaced_by if _at(old, path) != _at(new, path))
        return {path.partition(".")[0] for path in differing}


def _at(inputs: Mapping[str, Any], path: str) -> Any:
    """The input of that name, or its part where the path has a dot; None without."""
    name, _, rest = path.partition(".")
    value = inputs.get(name)
    return _at(value, rest) if rest and isinstance(value, Mapping) else value

"""A recorded program: the resources that one stack consists of, and its outputs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What recordings and the local cloud have in place of an account and of a baked image.
ACCOUNT_ID = "123456789012"
AMI_ID = "ami-0f1f0f1f0f1f0f1f0"


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One declared resource; `inputs` and `outputs` have the provider's camelCase names,
    `dependencies` are URNs, `ignore_changes` and `replace_on_changes` paths of inputs.

    `protect` refuses the deletion, `delete_before_replace` makes way for a replacement first.
    """

    urn: str
    type: str
    name: str
    parent: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    id: str
    dependencies: list[str]
    custom: bool
    ignore_changes: list[str] = field(default_factory=list)
    replace_on_changes: list[str] = field(default_factory=list)
    protect: bool = False
    delete_before_replace: bool = False


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What one stack consists of: its resources, sorted by URN, its outputs, and the rows of its
    bill (`components.costs.lines`).
    """

    stack: str
    resources: list[Resource]
    outputs: dict[str, Any]
    bill: list[dict[str, Any]] = field(default_factory=list)

    def of_type(self, kind: str) -> list[Resource]:
        """All resources of one type, such as `aws:ec2/instance:Instance`."""
        return [resource for resource in self.resources if resource.type == kind]

    def one(self, kind: str, name: str | None = None) -> Resource:
        """The only resource of a type, or the one with that name; LookupError names what there is
        instead.
        """
        found = [resource for resource in self.of_type(kind) if name in (None, resource.name)]
        if len(found) != 1:
            names = ", ".join(resource.name for resource in self.of_type(kind)) or "none"
            wanted = f"{kind} named {name}" if name else kind
            raise LookupError(f"wanted one {wanted}, of that type there are: {names}")
        return found[0]

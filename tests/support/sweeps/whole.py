"""The stack as a whole: tags, parents, prices, singletons, and two stacks in one account."""

from support.sweeps.rule import sweep, takes

from components import billed
from components.billed import ALARM, DASHBOARD
from recording import kinds
from recording.model import Recording
from tlfif import names

# What an account or a region has one of: these sit behind a configuration key.
SINGLETONS = {kinds.apigateway.ACCOUNT.token: "gateway:manageAccount"}
# Kinds of resources whose names are unique inside another resource of the same stack.
INNER_NAMES = {
    kinds.iam.ROLE_POLICY.token,
    kinds.apigateway.STAGE.token,
    kinds.lambda_.ALIAS.token,
}
NAMES = (
    "name",
    "bucket",
    "replicationGroupId",
    "dashboardName",
    "functionName",
    "policyName",
    "path",
)


@sweep
def everything_taggable_is_tagged(recording: Recording) -> list[str]:
    wanted = {names.ENV_TAG: names.ENV_VALUE, names.STACK_TAG: recording.stack}.items()
    return [
        f"{r.name}: {kind}"
        for r in recording.resources
        if r.custom
        for kind in ("tags", "volumeTags")
        if takes(r.type, kind) and not wanted <= (r.inputs.get(kind) or {}).items()
    ]


@sweep
def everything_is_part_of_a_component(recording: Recording) -> list[str]:
    components = {r.urn for r in recording.resources if not r.custom}
    return [r.name for r in recording.resources if r.custom and r.parent not in components]


@sweep
def everything_that_costs_money_has_a_line(recording: Recording) -> list[str]:
    """Each resource's items have a line for its type; what is paid by the piece, one piece for each
    resource.
    """
    lines = recording.bill
    found: list[str] = []
    for resource in (r for r in recording.resources if r.custom):
        try:
            items = billed.billed_items(resource.type, resource.inputs)
        except KeyError:
            unsaid = f"components/billed.py does not say whether {resource.type} costs money"
            found.append(f"{resource.name}: {unsaid}")
            continue
        priced = {line["item"] for line in lines if line["resource"] == resource.type}
        found += [f"{resource.name}: no line for {item}" for item in sorted(items - priced)]
    for item, kind in (("alarm", ALARM), ("dashboard", DASHBOARD)):
        counted = sum(
            line["quantity"] for line in lines if (line["item"], line["resource"]) == (item, kind)
        )
        if counted != len(recording.of_type(kind)):
            found.append(f"{len(recording.of_type(kind))} of {kind}, but lines for {counted:g}")
    return found


@sweep
def only_deploying_singletons_needs_a_key(recording: Recording) -> list[str]:
    return [
        r.name
        for r in recording.resources
        if r.type in SINGLETONS and len(recording.of_type(r.type)) > 1
    ]


def clashes(one: Recording, other: Recording) -> list[str]:
    """What could not exist twice in one account: names that two stacks both give to a thing of the
    same type.
    """
    return sorted(f"{kind}: {name}" for kind, name in _fixed(one) & _fixed(other))


def _fixed(recording: Recording) -> set[tuple[str, str]]:
    """Names that the program gives, or that Pulumi makes of stack and resource."""
    return {
        (r.type, str(r.inputs.get(key) or r.outputs.get(key)))
        for r in recording.resources
        if r.custom and r.type not in INNER_NAMES | SINGLETONS.keys()
        for key in NAMES
        if r.inputs.get(key) or (key == "name" and takes(r.type, "name"))
    }

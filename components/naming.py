"""Physical names: one for each stack of an account, and none that AWS refuses."""

import hashlib
import re
from dataclasses import dataclass

import pulumi

from components.settings_errors import SettingsError

FIXED_NAMES_STACK = "prod"
_HASH_DIGITS = 6
# Pulumi.yaml's pattern: the project, the stack, the resource, and seven digits at random.
_AUTONAME_DIGITS = 7
_STACK, _STACK_LIMIT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*"), 40


def check_stack(stack: str) -> None:
    """Raises SettingsError for a stack whose name AWS would refuse in some resource's: buckets know
    no capitals and no underscores, load balancers no dots, the queue no two hyphens together.
    """
    if not _STACK.fullmatch(stack) or len(stack) > _STACK_LIMIT:
        raise SettingsError(
            f"stack = {stack!r}: its name is part of the names of buckets, roles and load "
            "balancers, so it consists of lower-case letters, digits and single hyphens between "
            f"them, {_STACK_LIMIT} at most. Rename it with: pulumi stack rename <name>"
        )


def stack_name(name: str, stack: str) -> str:
    """`name` itself in prod, `name-{stack}` elsewhere."""
    return name if stack == FIXED_NAMES_STACK else f"{name}-{stack}"


def fitted(name: str, limit: int, unseen: str = "") -> str:
    """`name` within `limit` characters: a longer one is cut, and a hash keeps it apart from others.

    The same name is always cut the same way; `limit` must leave room for the hash, which is of
    `unseen` too.
    """
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(f"{name}{unseen}".encode()).hexdigest()[:_HASH_DIGITS]
    return f"{name[: limit - _HASH_DIGITS - 1].rstrip('-')}-{digest}"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How long AWS lets a name be, and the property that has it.

    A resource with a name of ours is deleted before it is replaced, because two cannot have it.
    Where something holds the old one until the new one is there, `replaced_by` are the properties
    whose change replaces it: they change the name instead.
    """

    length: int
    property: str = "name"
    replaced_by: tuple[str, ...] = ()


# The types for which Pulumi's own name of a resource can be too long: the provider would not cut it
# but fail. Each is the `name_limit` of its kind in recording/kinds/ (tests/components/test_naming).
LIMITS = {
    "aws:cloudwatch/eventRule:EventRule": Limit(length=64),
    "aws:elasticache/replicationGroup:ReplicationGroup": Limit(
        length=40, property="replication_group_id"
    ),
    "aws:iam/role:Role": Limit(length=64),
    "aws:lb/loadBalancer:LoadBalancer": Limit(length=32),
    # A listener forwards to the old group until the new one is there.
    "aws:lb/targetGroup:TargetGroup": Limit(
        length=32, replaced_by=("port", "protocol", "target_type")
    ),
    "aws:s3/bucket:Bucket": Limit(length=63, property="bucket"),
}
FUNCTION_LIMIT = 64


def fit_everything(project: str, stack: str, place: str) -> None:
    """Names every resource made after this call whose name by Pulumi would be too long for AWS.

    The others keep Pulumi's, which lets a replacement exist beside what it replaces. `place` is the
    account and region: the names of buckets are all the world's.
    """

    def fit(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        limit = LIMITS.get(args.type_)
        if limit is None or args.props[limit.property] is not None:
            return None
        name = f"{project}-{stack}-{args.name}"
        # As long as Pulumi's: so it is cut exactly when that would be refused.
        whole = f"{name}-{'0' * _AUTONAME_DIGITS}"
        if len(whole) <= limit.length:
            return None
        unseen = " ".join([place, *(str(args.props[each]) for each in limit.replaced_by)])
        options = pulumi.ResourceOptions(delete_before_replace=not limit.replaced_by)
        return pulumi.ResourceTransformationResult(
            props={**args.props, limit.property: fitted(whole, limit.length, unseen)},
            opts=pulumi.ResourceOptions.merge(args.opts, options),
        )

    pulumi.runtime.register_stack_transformation(fit)

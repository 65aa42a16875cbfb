"""Nothing is made before what it needs.

Pulumi destroys in the opposite order, so each pair holds both ways: what needs something is gone
first, and leaves nothing behind that only it could have taken along.
"""

from collections.abc import Iterator

from support.sweeps.rule import strings, sweep

from components.billed import (
    BUCKET,
    BUILD,
    CANARY,
    FUNCTION,
    INSTANCE,
    LOG_GROUP,
    PIPELINE,
    STAGE,
)
from recording import kinds
from recording.model import Recording, Resource

# A resource, what it needs, and why.
Need = tuple[Resource, Resource, str]
ROLE_POLICY = kinds.iam.ROLE_POLICY.token
BUILDER = kinds.imagebuilder.INFRASTRUCTURE.token
ROLE_OF = {
    BUILD: "serviceRole",
    PIPELINE: "roleArn",
    CANARY: "executionRoleArn",
    FUNCTION: "role",
    kinds.apigateway.ACCOUNT.token: "cloudwatchRoleArn",
}
EGRESS, INGRESS = kinds.ec2.EGRESS_RULE.token, kinds.ec2.INGRESS_RULE.token
PERMISSION = kinds.lambda_.PERMISSION.token
EVENT_INVOKE_CONFIG = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig"


@sweep
def nothing_is_made_before_what_it_needs(recording: Recording) -> list[str]:
    waits = _Waits(recording)
    return [
        f"{late.name}: does not wait for {early.name}: {why}"
        for needs in (_roles, _logs, _ways, _schedules, _gateways, _topics, _buckets, _certificates)
        for late, early, why in needs(recording)
        if not waits.of(late, early)
    ]


class _Waits:
    """What waits for what, by any number of steps."""

    def __init__(self, recording: Recording) -> None:
        self._direct = {r.urn: set(r.dependencies) for r in recording.resources}
        self._all: dict[str, set[str]] = {}

    def of(self, late: Resource, early: Resource) -> bool:
        return early.urn in self._before(late.urn)

    def _before(self, urn: str) -> set[str]:
        if urn not in self._all:
            direct = self._direct.get(urn, set())
            self._all[urn] = direct.union(*map(self._before, direct))
        return self._all[urn]


def _roles(recording: Recording) -> Iterator[Need]:
    """Who takes a role: all that the role may, which AWS tries at once."""
    for kind, role in ROLE_OF.items():
        for user in recording.of_type(kind):
            for grant in _grants(recording, user.inputs[role].rpartition("/")[2]):
                yield user, grant, "AWS tries the role at once"
    profiles = recording.of_type(kinds.iam.INSTANCE_PROFILE.token)
    role_of = {profile.outputs["name"]: profile.inputs["role"] for profile in profiles}
    for builder in recording.of_type(BUILDER):
        for grant in _grants(recording, role_of[builder.inputs["instanceProfileName"]]):
            yield builder, grant, "a bake may be started by then"
    for instance in recording.of_type(INSTANCE):
        for grant in _grants(recording, role_of[instance.inputs["iamInstanceProfile"]]):
            # The right to stop one node names that node, and can only be given afterwards.
            if not any(
                node.outputs["arn"] in grant.inputs.get("policy", "")
                for node in recording.of_type(INSTANCE)
            ):
                yield instance, grant, "a node boots at once"


def _grants(recording: Recording, role: str) -> Iterator[Resource]:
    for kind in (ROLE_POLICY, kinds.iam.ROLE_POLICY_ATTACHMENT.token):
        yield from (grant for grant in recording.of_type(kind) if grant.inputs["role"] == role)


def _logs(recording: Recording) -> Iterator[Need]:
    """Who writes to a log group: otherwise it is made anew, without a retention."""
    groups = {group.inputs["name"]: group for group in recording.of_type(LOG_GROUP)}
    for function in recording.of_type(FUNCTION):
        group = groups[function.inputs["loggingConfig"]["logGroup"]]
        yield function, group, "Lambda would make a group of its own"


def _ways(recording: Recording) -> Iterator[Need]:
    """Machines: the routes of their subnet, and the rules that let them out and in elsewhere."""
    for kind in (INSTANCE, FUNCTION, CANARY, BUILDER):
        for machine in recording.of_type(kind):
            where = machine.inputs.get("vpcConfig") or machine.inputs
            groups = where.get("securityGroupIds") or where.get("vpcSecurityGroupIds", [])
            subnets = where.get("subnetIds") or [where.get("subnetId")]
            ways = [*_routes(recording, subnets), *_rules(recording, groups)]
            yield from ((machine, way, "without it there is no way out") for way in ways)


def _routes(recording: Recording, subnets: list[str]) -> Iterator[Resource]:
    for association in recording.of_type(kinds.ec2.ROUTE_TABLE_ASSOCIATION.token):
        if association.inputs["subnetId"] in subnets:
            yield association
            table = association.inputs["routeTableId"]
            routes = recording.of_type(kinds.ec2.ROUTE.token)
            yield from (route for route in routes if route.inputs["routeTableId"] == table)


def _rules(recording: Recording, groups: list[str]) -> Iterator[Resource]:
    """To AWS and to the queue; the way to an endpoint is the endpoint's own affair."""
    queues = recording.of_type(kinds.elasticache.REPLICATION_GROUP.token)
    queue_groups = [group for queue in queues for group in queue.inputs["securityGroupIds"]]
    for rule in recording.of_type(EGRESS):
        peer = rule.inputs.get("referencedSecurityGroupId")
        if rule.inputs["securityGroupId"] in groups and peer in (None, *queue_groups):
            yield rule
    for rule in recording.of_type(INGRESS):
        if (
            rule.inputs.get("referencedSecurityGroupId") in groups
            and rule.inputs["securityGroupId"] in queue_groups
        ):
            yield rule


def _schedules(recording: Recording) -> Iterator[Need]:
    """A schedule's target: whatever else is said of the function that it calls."""
    rules = {
        rule.outputs["name"]: rule for rule in recording.of_type(kinds.monitoring.EVENT_RULE.token)
    }
    for target in recording.of_type(kinds.monitoring.EVENT_TARGET.token):
        arn = rules[target.inputs["rule"]].outputs["arn"]
        function = target.inputs["arn"].partition(":function:")[2].partition(":")[0]
        for permission in recording.of_type(PERMISSION):
            if permission.inputs["sourceArn"] == arn:
                yield target, permission, "its first call would be refused"
        for config in recording.of_type(EVENT_INVOKE_CONFIG):
            if config.inputs["functionName"] in (function, target.inputs["arn"]):
                yield target, config, "its first failure would be tried again"


def _gateways(recording: Recording) -> Iterator[Need]:
    """A stage serves at once: it may call its functions by then, and write its log."""
    apis = {
        api.id: api.outputs["executionArn"]
        for api in recording.of_type(kinds.apigateway.REST_API.token)
    }
    for stage in recording.of_type(STAGE):
        for permission in recording.of_type(PERMISSION):
            if permission.inputs["sourceArn"].startswith(apis[stage.inputs["restApi"]]):
                yield stage, permission, "its first calls would fail"
        for account in recording.of_type(kinds.apigateway.ACCOUNT.token):
            if stage.inputs.get("accessLogSettings"):
                yield stage, account, "API Gateway refuses access logs without a log role"


def _topics(recording: Recording) -> Iterator[Need]:
    """Who names a topic: Budgets tries to publish to it then."""
    heard = (kinds.monitoring.TOPIC_POLICY.token, kinds.monitoring.TOPIC_SUBSCRIPTION.token)
    for policy in recording.of_type(kinds.monitoring.TOPIC_POLICY.token):
        for user in _users(recording, policy.inputs["arn"]):
            if user.type not in heard:
                yield user, policy, "nobody may publish yet"


def _buckets(recording: Recording) -> Iterator[Need]:
    """Who is told of a bucket may write: it is private, encrypted and emptied by then."""
    for bucket in recording.of_type(BUCKET):
        settings = [
            r
            for r in recording.resources
            if r.type.startswith("aws:s3/bucket")
            and r.type != kinds.s3.BUCKET_OBJECT.token
            and r.inputs.get("bucket") == bucket.id
        ]
        for user in _users(recording, bucket.id):
            # A right alone writes nothing.
            if user.type not in (ROLE_POLICY, BUCKET) and user not in settings:
                yield from ((user, each, "it may write by then") for each in settings)


def _users(recording: Recording, value: str) -> Iterator[Resource]:
    for resource in recording.resources:
        if resource.custom and any(value in text for _, text in strings(resource.inputs)):
            yield resource


def _certificates(recording: Recording) -> Iterator[Need]:
    """A listener takes a certificate only once it is issued."""
    for listener in recording.of_type(kinds.lb.LISTENER.token):
        for validation in recording.of_type(kinds.lb.CERTIFICATE_VALIDATION.token):
            if validation.inputs["certificateArn"] == listener.inputs["certificateArn"]:
                yield listener, validation, "it is not issued yet"

"""Rules for everything that a stack declares: each takes a recording and returns its culprits, by
name and fault.
"""

import ast
import contextlib
import inspect
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pulumi_aws

from components import iam, pricing
from recording import kinds
from recording.model import ROOT, Recording, Resource
from tlfif import names

Sweep = Callable[[Recording], list[str]]
SWEEPS: list[Sweep] = []

ALARM = pricing.ALARM
BUCKET = pricing.BUCKET
DASHBOARD = pricing.DASHBOARD
FUNCTION = pricing.FUNCTION
INSTANCE = pricing.INSTANCE
LOG_GROUP = pricing.LOG_GROUP
ROLE = kinds.iam.ROLE.token
ROLE_POLICY = kinds.iam.ROLE_POLICY.token
ATTACHMENT = kinds.iam.ROLE_POLICY_ATTACHMENT.token
INGRESS = kinds.ec2.INGRESS_RULE.token
EGRESS = kinds.ec2.EGRESS_RULE.token
SECURITY_GROUP = kinds.ec2.SECURITY_GROUP.token
PERMISSION = kinds.lambda_.PERMISSION.token

# AWS's own policies: their stars are AWS's, and each stands for what we cannot write more narrowly.
MANAGED_POLICIES = {
    "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore": "Session Manager, the only way into a node",
    "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs": "API Gateway's log role",
}
# Metrics that AWS emits, with the dimensions that an alarm must name.
AWS_METRICS = {
    ("AWS/ApiGateway", "Latency"): {"ApiName", "Stage"},
    ("AWS/ApiGateway", "5XXError"): {"ApiName", "Stage"},
    ("AWS/ElastiCache", "DatabaseMemoryUsagePercentage"): {"CacheClusterId"},
    ("AWS/Lambda", "Errors"): {"FunctionName"},
    ("AWS/Lambda", "Duration"): {"FunctionName"},
    ("CloudWatchSynthetics", "SuccessPercent"): {"CanaryName"},
}
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


def sweep(rule: Sweep) -> Sweep:
    SWEEPS.append(rule)
    return rule


def policies(recording: Recording) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every role's own policy, with the policy's name."""
    for policy in recording.of_type(ROLE_POLICY):
        for statement in json.loads(policy.inputs["policy"])["Statement"]:
            yield policy.name, statement


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a value, with where it is; JSON inside texts is looked into too."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from strings(item, path)
    elif isinstance(value, str):
        yield path, value
        with contextlib.suppress(ValueError):
            inner = json.loads(value)
            yield from strings(inner if isinstance(inner, dict | list) else None, path)


# --- roles


@sweep
def roles_are_least_privilege(recording: Recording) -> list[str]:
    """No action with a star; the resource `*` only where components/iam.py says why."""
    found = [
        f"{name}: action {action}"
        for name, s in policies(recording)
        for action in listed(s["Action"])
        if "*" in action
    ]
    reasons = wildcard_reasons()
    for name, statement in policies(recording):
        if "*" in listed(statement["Resource"]) and statement.get("Sid") not in reasons:
            found.append(
                f"{name}: resource * of {statement.get('Sid')} without a reason in components/iam.py"
            )
    return found


@cache
def wildcard_reasons() -> dict[str, str]:
    """Statement id to the reason for its `*`: the docstring, beginning with it, of the function
    that makes it.
    """
    functions = [
        node for node in ast.parse(inspect.getsource(iam)).body if isinstance(node, ast.FunctionDef)
    ]
    documented = [(node, ast.get_docstring(node) or "") for node in functions]
    return {
        constant.value: reason.removeprefix("`*`: ")
        for node, reason in documented
        if reason.startswith("`*`: ")
        for constant in ast.walk(node)
        if isinstance(constant, ast.Constant)
        and isinstance(constant.value, str)
        and constant.value.isidentifier()
    }


@sweep
def roles_name_no_more_than_their_own_statements(recording: Recording) -> list[str]:
    """Only Allow statements with an id and without Not…; managed policies only from the reasoned
    list.
    """
    found = [
        f"{name}: {s.get('Sid')} is no plain Allow with an id"
        for name, s in policies(recording)
        if s.get("Effect") != "Allow" or "Sid" not in s or any(key.startswith("Not") for key in s)
    ]
    attached = recording.of_type(ATTACHMENT)
    found += [
        f"{a.name}: {a.inputs['policyArn']}"
        for a in attached
        if a.inputs["policyArn"] not in MANAGED_POLICIES
    ]
    return found + [
        f"{r.name}: policies of its own"
        for r in recording.of_type(ROLE)
        if "inlinePolicies" in r.inputs
    ]


@sweep
def roles_are_taken_by_one_service_and_used(recording: Recording) -> list[str]:
    found: list[str] = []
    for role in recording.of_type(ROLE):
        statements = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
        principals = [s["Principal"] for s in statements]
        if [list(p) for p in principals] != [["Service"]] or not isinstance(
            principals[0]["Service"], str
        ):
            found.append(f"{role.name}: trusts {principals}")
        policy_types = (ROLE_POLICY, ATTACHMENT)
        users = [
            r
            for r in recording.resources
            if role.urn in r.dependencies and r.type not in policy_types
        ]
        found += [] if users else [f"{role.name}: nothing uses it"]
    return found


@sweep
def functions_are_called_only_for_one_source(recording: Recording) -> list[str]:
    return [p.name for p in recording.of_type(PERMISSION) if not p.inputs.get("sourceArn")]


# --- logs and buckets


@sweep
def log_groups_have_a_retention(recording: Recording) -> list[str]:
    return [
        group.name
        for group in recording.of_type(LOG_GROUP)
        if not group.inputs.get("retentionInDays")
    ]


@sweep
def functions_log_to_a_group_of_ours(recording: Recording) -> list[str]:
    groups = {group.inputs["name"] for group in recording.of_type(LOG_GROUP)}
    functions = recording.of_type(FUNCTION)
    return [
        f.name for f in functions if f.inputs.get("loggingConfig", {}).get("logGroup") not in groups
    ]


@sweep
def buckets_are_private_encrypted_tls_only_and_expire(recording: Recording) -> list[str]:
    found: list[str] = []
    for bucket in recording.of_type(BUCKET):
        parts = {
            r.type.rpartition(":")[2]: r.inputs
            for r in recording.resources
            if r.type.startswith("aws:s3/bucket") and bucket.urn in r.dependencies
        }
        for fault, holds in _bucket_faults(parts).items():
            found += [] if holds else [f"{bucket.name}: {fault}"]
    return found


def _bucket_faults(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, bool]:
    switches = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    block = parts.get("BucketPublicAccessBlock", {})
    rules = parts.get("BucketLifecycleConfiguration", {}).get("rules", [])
    return {
        "public access is not blocked": all(block.get(switch) for switch in switches),
        "not encrypted": bool(
            parts.get("BucketServerSideEncryptionConfiguration", {}).get("rules")
        ),
        "not TLS-only": "aws:SecureTransport" in parts.get("BucketPolicy", {}).get("policy", ""),
        "no lifecycle": any(rule["status"] == "Enabled" and "expiration" in rule for rule in rules),
    }


# --- network


@sweep
def security_group_rules_are_single_ports_and_justified(recording: Recording) -> list[str]:
    """Rules are resources of their own, each with a reason and one of the ports that we know."""
    found = [
        f"{g.name}: rules inside the group" for g in recording.of_type(SECURITY_GROUP) if _inline(g)
    ]
    for rule in recording.of_type(INGRESS) + recording.of_type(EGRESS):
        ports = {rule.inputs.get("fromPort"), rule.inputs.get("toPort")}
        if rule.inputs["ipProtocol"] != "tcp" or ports not in (
            {names.TLS_PORT},
            {names.REDIS_PORT},
        ):
            found.append(f"{rule.name}: {rule.inputs['ipProtocol']} {ports}")
        if not rule.inputs.get("description"):
            found.append(f"{rule.name}: no description")
    return found


def _inline(group: Resource) -> bool:
    return bool(group.inputs.get("ingress") or group.inputs.get("egress"))


@sweep
def nothing_is_reached_from_everywhere(recording: Recording) -> list[str]:
    """Whoever may come in is a security group or a private network; only HTTPS may go out to
    everywhere.
    """
    blocks = ("cidrIpv4", "cidrIpv6")
    coming = [
        (r.name, r.inputs[b]) for r in recording.of_type(INGRESS) for b in blocks if b in r.inputs
    ]
    found = [
        f"{name}: from {block}"
        for name, block in coming
        if not ipaddress.ip_network(block).is_private
    ]
    going = [
        r
        for r in recording.of_type(EGRESS)
        if {"0.0.0.0/0", "::/0"} & {r.inputs.get(b) for b in blocks}
    ]
    return found + [
        f"{r.name}: to everywhere" for r in going if r.inputs["fromPort"] != names.TLS_PORT
    ]


@sweep
def instances_answer_metadata_v2_only(recording: Recording) -> list[str]:
    wanted = {"httpTokens": "required", "httpPutResponseHopLimit": 1}
    options = [(i.name, i.inputs.get("metadataOptions", {})) for i in recording.of_type(INSTANCE)]
    return [name for name, given in options if not wanted.items() <= given.items()]


@sweep
def load_balancers_are_internal_and_speak_tls(recording: Recording) -> list[str]:
    balancers = [
        b.name for b in recording.of_type(pricing.BALANCER) if not b.inputs.get("internal")
    ]
    listeners = recording.of_type(kinds.lb.LISTENER.token)
    return balancers + [
        listener.name for listener in listeners if listener.inputs["protocol"] != "TLS"
    ]


# --- alarms and dashboards


@sweep
def alarms_have_an_action_and_a_metric_that_something_emits(recording: Recording) -> list[str]:
    found: list[str] = []
    for alarm in recording.of_type(ALARM):
        found += [] if alarm.inputs.get("alarmActions") else [f"{alarm.name}: no action"]
        found += (
            []
            if alarm.inputs.get("treatMissingData")
            else [f"{alarm.name}: does not say what no data means"]
        )
        found += [
            f"{alarm.name}: {fault}"
            for metric in _alarmed(alarm.inputs)
            for fault in metric_faults(*metric)
        ]
    return found


def _alarmed(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str, set[str]]]:
    queries = [query["metric"] for query in inputs.get("metricQueries", []) if "metric" in query]
    for each in queries or [inputs]:
        yield each["namespace"], each["metricName"], set(each.get("dimensions", {}))


@sweep
def widgets_show_metrics_that_something_emits(recording: Recording) -> list[str]:
    found: list[str] = []
    for dashboard in recording.of_type(DASHBOARD):
        for widget in json.loads(dashboard.inputs["dashboardBody"])["widgets"]:
            title = widget["properties"].get("title", widget["type"])
            shown = list(_shown(widget["properties"].get("metrics", [])))
            found += [
                f"{dashboard.name}: {title}: {fault}"
                for metric in shown
                for fault in metric_faults(*metric)
            ]
    return found


def _shown(rows: list[list[Any]]) -> Iterator[tuple[str, str, set[str]]]:
    """A widget's metrics: a row is [namespace, name, dimension, value, …, {options}]; `.` repeats
    the one above.
    """
    above: list[Any] = []
    for row in rows:
        cells = [
            above[at] if cell == "." else cell
            for at, cell in enumerate(row)
            if isinstance(cell, str)
        ]
        if cells:
            above = cells
            yield cells[0], cells[1], set(cells[2::2])


def metric_faults(namespace: str, name: str, dimensions: set[str]) -> list[str]:
    known = AWS_METRICS.get((namespace, name)) or emitted().get((namespace, name))
    if known is None:
        return [f"nothing emits {namespace} {name}"]
    return (
        []
        if dimensions == known
        else [f"{namespace} {name} has the dimensions {known}, not {dimensions}"]
    )


@cache
def emitted() -> dict[tuple[str, str], set[str]]:
    """Our metrics: every namespace and name that one call in functions/ or gpu_image/ has together."""
    sources = [
        path
        for folder in ("functions", "gpu_image")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    return {pair: {"Stack"} for path in sources for pair in _emissions(path)}


def _emissions(path: Path) -> Iterator[tuple[str, str]]:
    """A function that names a namespace emits, to it, the metrics that it names."""
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            used = [node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)]
            spaces = [getattr(names, name) for name in used if name.startswith("NAMESPACE_")]
            metrics = [getattr(names, name) for name in used if name.startswith("METRIC_")]
            yield from ((space, metric) for space in spaces for metric in metrics)


# --- the whole


@sweep
def everything_taggable_is_tagged(recording: Recording) -> list[str]:
    wanted = {names.ENV_TAG: names.ENV_VALUE, names.STACK_TAG: recording.stack}.items()
    return [
        f"{r.name}: {kind}"
        for r in recording.resources
        if r.custom
        for kind in ("tags", "volumeTags")
        if _takes(r.type, kind) and not wanted <= (r.inputs.get(kind) or {}).items()
    ]


@cache
def _takes(kind: str, key: str) -> bool:
    """Whether the provider's class for a type has a property (in camelCase)."""
    module, name = kind.split(":")[1].split("/")[0], kind.split(":")[2]
    package = getattr(pulumi_aws, "lambda_" if module == "lambda" else module)
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()
    return snake in inspect.signature(getattr(package, name)._internal_init).parameters


@sweep
def no_secret_is_in_clear(recording: Recording) -> list[str]:
    """Neither a value that looks like one, nor anything under a name that promises one."""
    places = [(r.name, r.inputs) for r in recording.resources] + [("outputs", recording.outputs)]
    return [
        f"{name}.{path}"
        for name, value in places
        for path, text in strings(value)
        if _is_secret(path, text)
    ]


_SECRET_VALUES = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|hooks\.slack\.com/services/|xox[bp]-|gh[pousr]_[A-Za-z0-9]{20}|"
    r"events\.pagerduty\.com/integration/[0-9a-f]{16}|://[^/\s:@]+:[^/\s@]+@"
)
_SECRET_NAMES = re.compile(
    r"(password|secret|private_?key|api_?key|webhook|auth_?token)$", re.IGNORECASE
)


def _is_secret(path: str, text: str) -> bool:
    return bool(
        _SECRET_VALUES.search(text) or (text and _SECRET_NAMES.search(path.rpartition(".")[2]))
    )


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
            items = pricing.billed_items(resource.type, resource.inputs)
        except KeyError:
            found.append(
                f"{resource.name}: components/pricing.py does not say whether {resource.type} costs money"
            )
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
        if r.inputs.get(key) or (key == "name" and _takes(r.type, "name"))
    }

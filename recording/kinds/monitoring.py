"""Logs, alarms, schedules, probes, messages and the budget."""

from recording.kinds.kind import Kind

LOG_GROUP = Kind(
    token="aws:cloudwatch/logGroup:LogGroup",
    name_limit=512,
    name_pattern=r"[\.\-_/#A-Za-z0-9]+",
    shape={"id": "{name}", "arn": "arn:aws:logs:{region}:{account}:log-group:{name}"},
    replaced_by=frozenset({"name"}),
)
METRIC_ALARM = Kind(
    token="aws:cloudwatch/metricAlarm:MetricAlarm",
    name_limit=255,
    shape={"id": "{name}", "arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{name}"},
    attributes={"name": "alarm_name"},
    replaced_by=frozenset({"name"}),
)
DASHBOARD = Kind(
    token="aws:cloudwatch/dashboard:Dashboard",
    replaced_by=frozenset({"dashboardName"}),
)
QUERY_DEFINITION = Kind(
    token="aws:cloudwatch/queryDefinition:QueryDefinition",
    name_limit=255,
    inert="a saved query for the console; moto has no PutQueryDefinition",
)
EVENT_RULE = Kind(
    token="aws:cloudwatch/eventRule:EventRule",
    name_limit=64,
    name_pattern=r"[\.\-_A-Za-z0-9]+",
    shape={"id": "{name}", "arn": "arn:aws:events:{region}:{account}:rule/{name}"},
    replaced_by=frozenset({"name"}),
)
EVENT_TARGET = Kind(
    token="aws:cloudwatch/eventTarget:EventTarget",
    replaced_by=frozenset({"rule", "targetId"}),
)
CANARY = Kind(
    token="aws:synthetics/canary:Canary",
    name_limit=255,
    name_pattern=r"[0-9a-z_\-]+",
    inert="a browser of AWS's; moto has no Synthetics, the probe function runs instead",
    replaced_by=frozenset({"name"}),
)
TOPIC = Kind(
    token="aws:sns/topic:Topic",
    name_limit=256,
    name_pattern=r"[A-Za-z0-9_-]+",
    shape={"id": "{arn}", "arn": "arn:aws:sns:{region}:{account}:{name}"},
    replaced_by=frozenset({"name"}),
)
TOPIC_POLICY = Kind(
    token="aws:sns/topicPolicy:TopicPolicy",
    replaced_by=frozenset({"arn"}),
)
TOPIC_SUBSCRIPTION = Kind(
    token="aws:sns/topicSubscription:TopicSubscription",
    emulated="local/monitoring/ calls functions; to real addresses nothing leaves this machine",
    attributes={"topic": "topic_arn"},
    replaced_by=frozenset({"endpoint", "protocol", "topic"}),
)
BUDGET = Kind(
    token="aws:budgets/budget:Budget",
    name_limit=100,
    name_pattern=r"[^:\\]+",
    replaced_by=frozenset({"name"}),
)

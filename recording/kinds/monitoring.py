"""Logs, alarms, schedules, probes, messages and the budget."""

from recording.kinds.kind import Kind

LOG_GROUP = Kind(
    token="aws:cloudwatch/logGroup:LogGroup",
    shape={"id": "{name}", "arn": "arn:aws:logs:{region}:{account}:log-group:{name}"},
)
METRIC_ALARM = Kind(
    token="aws:cloudwatch/metricAlarm:MetricAlarm", attributes={"name": "alarm_name"}
)
DASHBOARD = Kind(token="aws:cloudwatch/dashboard:Dashboard")
QUERY_DEFINITION = Kind(
    token="aws:cloudwatch/queryDefinition:QueryDefinition",
    inert="a saved query for the console; moto has no PutQueryDefinition",
)
EVENT_RULE = Kind(
    token="aws:cloudwatch/eventRule:EventRule",
    shape={"id": "{name}", "arn": "arn:aws:events:{region}:{account}:rule/{name}"},
)
EVENT_TARGET = Kind(token="aws:cloudwatch/eventTarget:EventTarget")
CANARY = Kind(
    token="aws:synthetics/canary:Canary",
    inert="a browser of AWS's; moto has no Synthetics, the probe function runs instead",
)
TOPIC = Kind(
    token="aws:sns/topic:Topic",
    shape={"id": "{arn}", "arn": "arn:aws:sns:{region}:{account}:{name}"},
)
TOPIC_POLICY = Kind(token="aws:sns/topicPolicy:TopicPolicy")
TOPIC_SUBSCRIPTION = Kind(
    token="aws:sns/topicSubscription:TopicSubscription",
    emulated="moto would deliver to real addresses; nothing leaves this machine",
    attributes={"topic": "topic_arn"},
)
BUDGET = Kind(token="aws:budgets/budget:Budget")

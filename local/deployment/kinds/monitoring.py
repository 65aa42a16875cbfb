"""Logs, alarms and schedules, made in moto."""

from local.aws.moto import Moto
from local.deployment.kinds.maker import changes, makes, overwrites, reads, removes, retag
from local.deployment.kinds.spelling import Inputs, Outputs, api, properties, tag_map, tags, without
from recording import kinds
from recording.model import ACCOUNT_ID

# --- log groups


@makes(kinds.monitoring.LOG_GROUP)
def _log_group(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("logs").create_log_group(logGroupName=name, tags=inputs.get("tags", {}))
    _set_retention(moto, name, inputs)
    return {"id": name, "name": name, "arn": _log_arn(moto, name)}


def _log_arn(moto: Moto, name: str) -> str:
    return f"arn:aws:logs:{moto.region}:{ACCOUNT_ID}:log-group:{name}"


def _set_retention(moto: Moto, name: str, inputs: Inputs) -> None:
    logs = moto.client("logs")
    if days := inputs.get("retentionInDays"):
        logs.put_retention_policy(logGroupName=name, retentionInDays=days)
    else:
        logs.delete_retention_policy(logGroupName=name)


@changes(kinds.monitoring.LOG_GROUP, "tags", "retentionInDays")
def _change_log_group(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    logs, arn = moto.client("logs"), _log_arn(moto, id_)
    _set_retention(moto, id_, new)
    retag(
        old,
        new,
        tag=lambda set_: logs.tag_resource(resourceArn=arn, tags=set_),
        untag=lambda gone: logs.untag_resource(resourceArn=arn, tagKeys=gone),
    )
    return {}


@reads(kinds.monitoring.LOG_GROUP)
def _read_log_group(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    logs = moto.client("logs")
    listed = logs.describe_log_groups(logGroupNamePrefix=id_)["logGroups"]
    group = next((each for each in listed if each["logGroupName"] == id_), None)
    if group is None:
        return None
    return {
        "name": id_,
        "retentionInDays": group.get("retentionInDays", 0),
        "tags": logs.list_tags_for_resource(resourceArn=_log_arn(moto, id_))["tags"],
    }


@removes(kinds.monitoring.LOG_GROUP)
def _remove_log_group(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("logs").delete_log_group(logGroupName=id_)


# --- alarms


@makes(kinds.monitoring.METRIC_ALARM)
def _metric_alarm(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    dimensions = inputs.get("dimensions", {}).items()
    moto.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions],
        Tags=tags(inputs),
        **api(without(inputs, "name", "tags", "dimensions")),
    )
    arn = f"arn:aws:cloudwatch:{moto.region}:{ACCOUNT_ID}:alarm:{name}"
    return {"id": name, "name": name, "arn": arn}


@changes(
    kinds.monitoring.METRIC_ALARM,
    "tags",
    "comparisonOperator",
    "evaluationPeriods",
    "datapointsToAlarm",
    "metricName",
    "namespace",
    "dimensions",
    "statistic",
    "extendedStatistic",
    "period",
    "threshold",
    "treatMissingData",
    "evaluateLowSampleCountPercentiles",
    "alarmActions",
    "okActions",
    "insufficientDataActions",
    "alarmDescription",
    "actionsEnabled",
)
def _change_metric_alarm(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    cloudwatch = moto.client("cloudwatch")
    made = _metric_alarm(moto, id_, without(new, "tags"))
    retag(
        old,
        new,
        tag=lambda set_: cloudwatch.tag_resource(
            ResourceARN=made["arn"], Tags=tags({"tags": set_})
        ),
        untag=lambda gone: cloudwatch.untag_resource(ResourceARN=made["arn"], TagKeys=gone),
    )
    return {}


@reads(kinds.monitoring.METRIC_ALARM)
def _read_metric_alarm(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    cloudwatch = moto.client("cloudwatch")
    listed = cloudwatch.describe_alarms(AlarmNames=[id_])["MetricAlarms"]
    if not listed:
        return None
    alarm = listed[0]
    tagged = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])
    return {
        **properties(without(alarm, "Dimensions")),
        "name": id_,
        "dimensions": {each["Name"]: each["Value"] for each in alarm["Dimensions"]},
        "tags": tag_map(tagged["Tags"]),
    }


@removes(kinds.monitoring.METRIC_ALARM)
def _remove_metric_alarm(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("cloudwatch").delete_alarms(AlarmNames=[id_])


# --- dashboards


@makes(kinds.monitoring.DASHBOARD)
def _dashboard(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("cloudwatch").put_dashboard(**api(without(inputs, "name")))
    return {"id": inputs["dashboardName"]}


overwrites(kinds.monitoring.DASHBOARD)


@reads(kinds.monitoring.DASHBOARD)
def _read_dashboard(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    return properties(moto.client("cloudwatch").get_dashboard(DashboardName=id_))


@removes(kinds.monitoring.DASHBOARD)
def _remove_dashboard(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("cloudwatch").delete_dashboards(DashboardNames=[id_])


# --- schedules


@makes(kinds.monitoring.EVENT_RULE)
def _event_rule(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    rule = moto.client("events").put_rule(
        Name=name, Tags=tags(inputs), **api(without(inputs, "name", "tags"))
    )
    return {"id": name, "name": name, "arn": rule["RuleArn"]}


@changes(
    kinds.monitoring.EVENT_RULE,
    "tags",
    "scheduleExpression",
    "eventPattern",
    "description",
    "state",
)
def _change_event_rule(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    events = moto.client("events")
    arn = _event_rule(moto, id_, without(new, "tags"))["arn"]
    retag(
        old,
        new,
        tag=lambda set_: events.tag_resource(ResourceARN=arn, Tags=tags({"tags": set_})),
        untag=lambda gone: events.untag_resource(ResourceARN=arn, TagKeys=gone),
    )
    return {}


@reads(kinds.monitoring.EVENT_RULE)
def _read_event_rule(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    events = moto.client("events")
    rule = events.describe_rule(Name=id_)
    tagged = events.list_tags_for_resource(ResourceARN=rule["Arn"])
    return {**properties(rule), "tags": tag_map(tagged["Tags"])}


@removes(kinds.monitoring.EVENT_RULE)
def _remove_event_rule(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("events").delete_rule(Name=id_)


@makes(kinds.monitoring.EVENT_TARGET)
def _event_target(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    target_id = inputs.get("targetId", name)
    target = {
        "Id": target_id,
        **api(without(inputs, "rule", "targetId", "name", "inputTransformer")),
        **_transformer(inputs.get("inputTransformer")),
    }
    moto.client("events").put_targets(Rule=inputs["rule"], Targets=[target])
    return {"id": f"{inputs['rule']}-{target_id}", "targetId": target_id}


def _transformer(inputs: Inputs | None) -> Outputs:
    """Its paths are the user's own names."""
    if inputs is None:
        return {}
    template, paths = inputs["inputTemplate"], inputs["inputPaths"]
    return {"InputTransformer": {"InputTemplate": template, "InputPathsMap": paths}}


@changes(
    kinds.monitoring.EVENT_TARGET, "arn", "input", "inputTransformer", "roleArn", "retryPolicy"
)
def _change_event_target(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    return _event_target(moto, old["targetId"], new)


@reads(kinds.monitoring.EVENT_TARGET)
def _read_event_target(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    listed = moto.client("events").list_targets_by_rule(Rule=outputs["rule"])["Targets"]
    found = next((each for each in listed if each["Id"] == outputs["targetId"]), None)
    if found is None:
        return None
    told = properties(without(found, "Id", "InputTransformer"))
    if transformer := found.get("InputTransformer"):
        paths, template = transformer["InputPathsMap"], transformer["InputTemplate"]
        told["inputTransformer"] = {"inputPaths": paths, "inputTemplate": template}
    return {"rule": outputs["rule"], **told}


@removes(kinds.monitoring.EVENT_TARGET)
def _remove_event_target(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("events").remove_targets(Rule=outputs["rule"], Ids=[outputs["targetId"]])

"""What the delivery pipeline and its builds may do, as components/iam.py has it for all others."""

from collections.abc import Sequence

import pulumi

from components.iam import Statement, Text, allow, put_metrics, read_parameter, see_missing
from components.naming import stack_name
from tlfif.names import NAMESPACE_DELIVERY, SLACK_PARAMETER, SMOKE_PARAMETER

# CodePipeline cuts the folder of a pipeline's artefacts to so many characters of its name.
FOLDER_CHARACTERS = 20


def _concat(arn: Text, end: str) -> pulumi.Output[str]:
    return pulumi.Output.concat(arn, end)


def _artifacts(bucket_arn: Text, pipeline: str) -> pulumi.Output[str]:
    """What CodePipeline keeps between the stages of one pipeline."""
    return _concat(bucket_arn, f"/{pipeline[:FOLDER_CHARACTERS]}*")


def use_connection(connection_arn: str) -> Statement:
    """By both names that the service has had: which one AWS asks for, the ARN does not say."""
    return allow(
        "UseConnection",
        ["codeconnections:UseConnection", "codestar-connections:UseConnection"],
        connection_arn,
    )


# --- the pipeline itself


def run_builds(project_arns: Sequence[Text]) -> Statement:
    return allow("RunBuilds", ["codebuild:BatchGetBuilds", "codebuild:StartBuild"], project_arns)


def keep_artifacts(bucket_arn: Text, pipeline: str) -> tuple[Statement, ...]:
    """Hand the source from stage to stage. The source action gives its object an ACL of the
    bucket's owner.
    """
    return (
        allow(
            "KeepArtifacts",
            ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:PutObjectAcl"],
            _artifacts(bucket_arn, pipeline),
        ),
        allow(
            "LookAtBucket",
            ["s3:GetBucketAcl", "s3:GetBucketLocation", "s3:GetBucketVersioning"],
            bucket_arn,
        ),
        see_missing(bucket_arn),
    )


# --- every build


def read_source(bucket_arn: Text, pipeline: str) -> tuple[Statement, ...]:
    """What the pipeline hands over: which commit of the repository to clone."""
    return (
        allow(
            "ReadSource",
            ["s3:GetObject", "s3:GetObjectVersion"],
            _artifacts(bucket_arn, pipeline),
        ),
        allow("LookAtBucket", ["s3:GetBucketAcl", "s3:GetBucketLocation"], bucket_arn),
        see_missing(bucket_arn),
    )


def store(bucket_arn: Text, prefix: str) -> Statement:
    """Leave something for people to read, below one prefix."""
    return allow("Store", ["s3:PutObject"], _concat(bucket_arn, f"/{prefix}/*"))


# --- deployments


def release(router_arn: Text) -> tuple[Statement, ...]:
    """New code of the router, new versions, and which of them serves; of versions, never of the
    function itself, that some are deleted.
    """
    versions = _concat(router_arn, ":*")
    return (
        allow(
            "Release",
            [
                "lambda:GetAlias",
                "lambda:ListAliases",
                "lambda:ListVersionsByFunction",
                "lambda:PublishVersion",
                "lambda:UpdateAlias",
                "lambda:UpdateFunctionCode",
            ],
            router_arn,
        ),
        allow("SeeVersions", ["lambda:GetFunctionConfiguration"], [router_arn, versions]),
        allow("TryVersions", ["lambda:InvokeFunction"], versions),
        allow("PruneVersions", ["lambda:DeleteFunction"], versions),
    )


def call_probe(function_arn: Text) -> Statement:
    return allow("CallProbe", ["lambda:InvokeFunction"], function_arn)


def watch_alarms(alarm_arns: Sequence[Text]) -> Statement:
    return allow("WatchAlarms", ["cloudwatch:DescribeAlarms"], alarm_arns)


def tell_slack(region: str, account_id: str, stack: str) -> Statement:
    """Without a webhook there is no such parameter, and who may read it is told so."""
    return _parameter("TellSlack", region, account_id, stack_name(SLACK_PARAMETER, stack))


def _parameter(sid: str, region: str, account_id: str, name: str) -> Statement:
    arn = f"arn:aws:ssm:{region}:{account_id}:parameter{name}"
    return {**read_parameter(arn), "Sid": sid}


# --- smoke tests


def sign_in(region: str, account_id: str, stack: str) -> Statement:
    return _parameter("SignIn", region, account_id, stack_name(SMOKE_PARAMETER, stack))


def roll_back(router_arn: Text) -> tuple[Statement, ...]:
    """Which version serves: one that answers. The one that proved bad is deleted."""
    versions = _concat(router_arn, ":*")
    return (
        allow(
            "RollBack",
            ["lambda:GetAlias", "lambda:UpdateAlias"],
            router_arn,
        ),
        allow(
            "SeeVersions",
            ["lambda:GetFunctionConfiguration"],
            [router_arn, versions],
        ),
        allow("TryVersions", ["lambda:InvokeFunction"], versions),
        allow("DeleteBadVersion", ["lambda:DeleteFunction"], versions),
    )


def read_traces() -> Statement:
    """`*`: X-Ray's reads have no resource level; a filter names the router."""
    return allow("ReadTraces", ["xray:BatchGetTraces", "xray:GetTraceSummaries"], "*")


def say_unstable() -> Statement:
    return put_metrics(NAMESPACE_DELIVERY)

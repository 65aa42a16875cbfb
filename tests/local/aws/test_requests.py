"""Every request that boto3 sends is understood as the call it was made from."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from local.aws import requests as aws_requests
from local.aws.requests import AwsRequest, UnknownRequestError

ENDPOINT = "http://127.0.0.1:9"


class _Empty:
    def stream(self) -> list[bytes]:
        return []


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    return boto3.Session("AKIAEXAMPLE", "secret", region_name="eu-west-1")


@pytest.fixture
def understood(session: boto3.Session) -> Callable[..., AwsRequest]:
    """Makes a boto3 call and returns how its request is read."""

    def read(service: str, method: str, /, **params: Any) -> AwsRequest:
        found: list[AwsRequest] = []

        def answer(request: Any, **_: Any) -> AWSResponse:
            found.append(_parse(request))
            return AWSResponse(request.url, 200, {"content-type": "text/xml"}, _Empty())

        client = session.client(service, endpoint_url=ENDPOINT)
        client.meta.events.register("before-send", answer)
        # An empty answer is no answer of S3's; what was asked is all that counts.
        client.meta.events.register("needs-retry", lambda **_: None)
        try:
            getattr(client, method)(**params)
        except Exception:
            assert found, "no request was sent"
        return found[0]

    return read


def _parse(request: Any) -> AwsRequest:
    url = urlsplit(request.url)
    body = request.body.read() if hasattr(request.body, "read") else request.body or b""
    headers = {
        name.lower(): v.decode() if isinstance(v, bytes) else v
        for name, v in request.headers.items()
    }
    raw = body.encode() if isinstance(body, str) else body
    return aws_requests.parse(request.method, url.path, url.query, headers, raw)


@pytest.mark.parametrize(
    ("service", "method", "params", "action"),
    [
        ("ec2", "describe_instances", {"Filters": [{"Name": "tag:env", "Values": ["a", "b"]}]},
         "ec2:DescribeInstances"),
        ("ec2", "start_instances", {"InstanceIds": ["i-1", "i-2"]}, "ec2:StartInstances"),
        ("ec2", "create_tags", {"Resources": ["i-1"], "Tags": [{"Key": "k", "Value": "v"}]},
         "ec2:CreateTags"),
        ("s3", "put_object", {"Bucket": "bkt", "Key": "a b/ü.json", "IfNoneMatch": "*"},
         "s3:PutObject"),
        ("s3", "get_object", {"Bucket": "bkt", "Key": "k", "IfMatch": '"x"'}, "s3:GetObject"),
        ("s3", "head_object", {"Bucket": "bkt", "Key": "k"}, "s3:GetObject"),
        ("s3", "delete_object", {"Bucket": "bkt", "Key": "k"}, "s3:DeleteObject"),
        ("s3", "list_objects_v2", {"Bucket": "bkt", "Prefix": "p/"}, "s3:ListBucket"),
        ("s3", "list_objects", {"Bucket": "bkt", "Prefix": "p/"}, "s3:ListBucket"),
        ("s3", "copy_object", {"Bucket": "bkt", "Key": "k", "CopySource": "a/b"}, "s3:PutObject"),
        ("s3", "upload_part", {"Bucket": "bkt", "Key": "k", "UploadId": "u"}, "s3:PutObject"),
        ("s3", "get_bucket_policy", {"Bucket": "bkt"}, "s3:GetBucketPolicy"),
        ("s3", "list_buckets", {}, "s3:ListAllMyBuckets"),
        ("lambda", "invoke", {"FunctionName": "f", "InvocationType": "Event"},
         "lambda:InvokeFunction"),
        ("ssm", "get_parameter", {"Name": "/tl-fif/x"}, "ssm:GetParameter"),
        ("sns", "publish", {"TopicArn": "t", "MessageAttributes": {"a": {"DataType": "String"}}},
         "sns:Publish"),
        ("cloudwatch", "put_metric_data", {"Namespace": "TLFIF/GPU", "MetricData": []},
         "cloudwatch:PutMetricData"),
        ("logs", "put_log_events",
         {"logGroupName": "g", "logEvents": [{"timestamp": 1, "message": "m"}]},
         "logs:PutLogEvents"),
        ("budgets", "describe_budget", {"AccountId": "123456789012", "BudgetName": "b"},
         "budgets:ViewBudget"),
        ("elasticache", "describe_replication_groups", {"ReplicationGroupId": "g"},
         "elasticache:DescribeReplicationGroups"),
    ],
)  # fmt: skip
def test_reads_the_action_and_the_parameters(
    understood: Callable[..., AwsRequest],
    service: str,
    method: str,
    params: dict[str, Any],
    action: str,
) -> None:
    extra = {
        "UploadId": {"PartNumber": 3},
        "logGroupName": {"logStreamName": "s"},
        "TopicArn": {"Message": "m"},
    }
    sent = {**params, **next((more for key, more in extra.items() if key in params), {})}

    request = understood(service, method, **sent)

    assert (request.service, request.action) == (service, action)
    assert (request.access_key, request.region) == ("AKIAEXAMPLE", "eu-west-1")
    assert {key: request.params[key] for key in params if params[key] != []} == {
        k: v for k, v in params.items() if v
    }


def test_a_public_operation_needs_no_signature(understood: Callable[..., AwsRequest]) -> None:
    request = understood(
        "cognito-idp", "initiate_auth", ClientId="c", AuthFlow="USER_PASSWORD_AUTH"
    )

    assert (request.action, request.public, request.access_key) == (
        "cognito-idp:InitiateAuth",
        True,
        None,
    )


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_reads_presigned_addresses(session: boto3.Session, version: str) -> None:
    s3 = session.client("s3", endpoint_url=ENDPOINT, config=Config(signature_version=version))

    url = urlsplit(s3.generate_presigned_url("get_object", {"Bucket": "bkt", "Key": "a/b"}))
    request = aws_requests.parse("GET", url.path, url.query, {}, b"")

    assert (request.action, request.access_key) == ("s3:GetObject", "AKIAEXAMPLE")
    assert request.params["Key"] == "a/b"


@pytest.mark.parametrize(
    ("service", "headers", "message"),
    [
        ("nosuch", {}, "botocore knows no service 'nosuch'"),
        ("ssm", {"x-amz-target": "AmazonSSM.Nothing"}, "ssm has no operation 'Nothing'"),
        ("ec2", {}, "ec2 has no operation ''"),
        ("lambda", {}, "lambda has no operation for PATCH /nowhere"),
    ],
)
def test_says_what_it_does_not_know(service: str, headers: dict[str, str], message: str) -> None:
    scope = f"AKIAEXAMPLE/20261123/us-east-1/{service}/aws4_request"
    signed = {"authorization": f"AWS4-HMAC-SHA256 Credential={scope}, Signature=0", **headers}

    with pytest.raises(UnknownRequestError, match=message):
        aws_requests.parse("PATCH", "/nowhere", "", signed, b"")

"""Lambda's versions and aliases in the local cloud's moto, which are as AWS has them."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from support.calls import code

from local.aws.moto import Moto
from tools.delivery.versions import Router

pytestmark = [pytest.mark.integration, pytest.mark.story("CI-004")]
NAME = "router"
ROLE = "arn:aws:iam::123456789012:role/router"


@pytest.fixture
def lambda_(moto: Moto) -> Iterator[Any]:
    """A function with version 1, which its alias names."""
    moto.client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument="{}")
    client = moto.client("lambda")
    client.create_function(
        FunctionName=NAME,
        Role=ROLE,
        Runtime="python3.12",
        Handler="router.handler.handler",
        Code={"ZipFile": b"first"},
        Publish=True,
    )
    client.create_alias(FunctionName=NAME, Name="prod", FunctionVersion="1")
    return client


def _publish(client: Any, content: bytes, **told: Any) -> str:
    client.update_function_code(FunctionName=NAME, ZipFile=content)
    return client.publish_version(FunctionName=NAME, **told)["Version"]


def _move(client: Any, version: str, revision: str | None = None, **weights: float) -> Any:
    told = {"RevisionId": revision} if revision else {}
    return client.update_alias(
        FunctionName=NAME,
        Name="prod",
        FunctionVersion=version,
        RoutingConfig={
            "AdditionalVersionWeights": {name.strip("v"): each for name, each in weights.items()}
        },
        **told,
    )


def test_a_version_keeps_code_and_settings(lambda_: Any, moto: Moto) -> None:
    lambda_.update_function_configuration(
        FunctionName=NAME, Environment={"Variables": {"A": "1"}}, Timeout=7
    )
    assert _publish(lambda_, b"second", Description="of a commit") == "2"
    listed = lambda_.list_versions_by_function(FunctionName=NAME)["Versions"]
    assert [(each["Version"], each["Timeout"], each["Description"]) for each in listed] == [
        ("$LATEST", 7, ""),
        ("1", 3, ""),
        ("2", 7, "of a commit"),
    ]
    paths = [moto.code_of(each["CodeSha256"]) for each in listed]
    assert [path and path.read_bytes() for path in paths] == [b"second", b"first", b"second"]


def test_what_has_not_changed_is_the_last_version(lambda_: Any) -> None:
    assert lambda_.publish_version(FunctionName=NAME)["Version"] == "1"
    assert _publish(lambda_, b"first") == "1"
    assert _publish(lambda_, b"second") == "2"
    # As it was once is not as it was last.
    assert _publish(lambda_, b"first") == "3"


def test_a_number_is_given_once_and_what_an_alias_names_is_not_deleted(lambda_: Any) -> None:
    assert [_publish(lambda_, each) for each in (b"second", b"third")] == ["2", "3"]
    _move(lambda_, "1", v3=0.1)
    for version in ("1", "3"):
        with pytest.raises(ClientError) as error:
            lambda_.delete_function(FunctionName=NAME, Qualifier=version)
        assert code(error) == (409, "ResourceConflictException")
    lambda_.delete_function(FunctionName=NAME, Qualifier="2")
    _move(lambda_, "1")
    lambda_.delete_function(FunctionName=NAME, Qualifier="3")
    assert _publish(lambda_, b"fourth") == "4"
    with pytest.raises(ClientError) as error:
        _move(lambda_, "3")
    assert code(error) == (404, "ResourceNotFoundException")


def test_of_two_who_move_the_alias_one_is_refused(lambda_: Any) -> None:
    _publish(lambda_, b"second")
    seen = lambda_.get_alias(FunctionName=NAME, Name="prod")["RevisionId"]
    assert _move(lambda_, "1", seen, v2=0.5)["RevisionId"] != seen
    with pytest.raises(ClientError) as error:
        _move(lambda_, "2", seen)
    assert code(error) == (412, "PreconditionFailedException")


def test_code_that_somebody_changed_is_not_published(lambda_: Any) -> None:
    mine = base64.b64encode(hashlib.sha256(b"mine").digest()).decode()
    with pytest.raises(ClientError) as error:
        _publish(lambda_, b"theirs", CodeSha256=mine)
    assert code(error) == (412, "PreconditionFailedException")
    assert _publish(lambda_, b"mine", CodeSha256=mine) == "2"


def test_what_is_not_published_has_no_weight(lambda_: Any) -> None:
    for version, weights in (("$LATEST", {"v1": 0.1}), ("1", {"v1": 0.1})):
        with pytest.raises(ClientError) as error:
            _move(lambda_, version, **weights)
        assert code(error) == (400, "InvalidParameterValueException")
    assert _move(lambda_, "$LATEST")["FunctionVersion"] == "$LATEST"


def test_versions_of_two_roles_have_no_weight(lambda_: Any, moto: Moto) -> None:
    other = moto.client("iam").create_role(RoleName="other", AssumeRolePolicyDocument="{}")
    lambda_.update_function_configuration(FunctionName=NAME, Role=other["Role"]["Arn"])
    assert lambda_.publish_version(FunctionName=NAME)["Version"] == "2"
    with pytest.raises(ClientError, match="have the same execution role") as error:
        _move(lambda_, "1", v2=1.0)
    assert code(error) == (400, "InvalidParameterValueException")
    assert _move(lambda_, "2")["FunctionVersion"] == "2"


def test_the_router_of_a_deployment_reads_it(lambda_: Any) -> None:
    """The command's own class against the API that the fakes of its tests imitate."""
    router = Router(lambda_, f"arn:aws:lambda:us-east-1:123456789012:function:{NAME}", print)
    serving = router.serving()
    assert (serving.version, serving.weights) == ("1", {})
    assert router.is_served(serving, b"first")
    router.take(b"second")
    version = router.publish("d" * 40)
    shifted = router.move(serving, serving.version, {version: 0.25})
    assert str(shifted) == "version 1, 25% of it version 2"
    # An answer that was lost: what was wanted is so already.
    assert router.move(serving, serving.version, {version: 0.25}).revision == shifted.revision
    assert router.settle()[1].weights == {}
    assert (router.numbers(), router.commit_of(version), router.prune(())) == ([1, 2], "d" * 40, [])
    assert router.discard("1").startswith("version 1 could not be deleted: ")
    assert router.discard(version) == "version 2 is deleted"
    # As when the answer to the first request was lost.
    assert router.discard(version) == "version 2 is deleted"
    assert router.numbers() == [1]

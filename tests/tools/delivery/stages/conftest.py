"""An account for the delivery's commands: moto's, in this process."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from support.scripted_api import ScriptedApi, scripted_api

from tools.delivery import smoke, smoke_user, summary

REGION, BUCKET = "us-east-1", "artifacts"
ROUTER = f"arn:aws:lambda:{REGION}:123456789012:function:tl-fif-dev-router"


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with scripted_api() as made:
        yield made


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setattr(summary, "commit", lambda: ("0123456789abcdef" * 2, ""))
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield


@pytest.fixture
def outputs(
    account: None, api: ScriptedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The outputs of a stack whose API is the scripted one, in a file."""
    cognito = boto3.client("cognito-idp")
    # As components/identity.py has it.
    policy = {"PasswordPolicy": {"MinimumLength": 12, "RequireSymbols": False}}
    pool = cognito.create_user_pool(PoolName="p", Policies=policy)["UserPool"]["Id"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName="c", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"]
    )["UserPoolClient"]["ClientId"]
    file = tmp_path / "outputs.json"
    told = {
        "api_url": f"{api.url}/v1",
        "user_pool_id": pool,
        "user_pool_client_id": client,
        "artifacts_bucket": BUCKET,
        "router_arn": ROUTER,
    }
    file.write_text(json.dumps(told))
    monkeypatch.setattr(smoke, "FOLDER", tmp_path / "smoke")
    return file


Command = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command's `main` with arguments."""

    def run(main: Callable[[], int], *arguments: Any) -> int:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        return main()

    return run


@pytest.fixture
def user(run: Command, outputs: Path) -> None:
    """Who signs in for the smoke test."""
    assert run(smoke_user.main, "--outputs", outputs) == 0

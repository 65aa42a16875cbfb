"""What the stages' commands share: how they speak to AWS, to Slack, and to who runs them."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from components.naming import stack_name
from recording.model import ROOT
from tlfif.names import SLACK_PARAMETER
from tools.outputs import OutputsError

_CALLS = Config(connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 4})
SLACK_TIMEOUT_S = 10


class StageError(RuntimeError):
    """The stage fails; the message says why and what to do."""


def client(service: str, region: str | None, config: Config | None = None) -> Any:
    """A client of an AWS API; without a region, in that of the environment."""
    merged = _CALLS.merge(config) if config else _CALLS
    return boto3.client(service, region_name=region, config=merged)


def ended(run: Callable[[], int]) -> int:
    """What a command returns, or 1 with one line of error."""
    try:
        return run()
    except (StageError, OutputsError) as error:
        print(f"tl-fif: {error}", file=sys.stderr)
    except ClientError as error:
        print(f"tl-fif: AWS refuses: {error}", file=sys.stderr)
    except BotoCoreError as error:
        print(f"tl-fif: AWS cannot be asked: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("tl-fif: interrupted", file=sys.stderr)
        return 130
    return 1


def commit() -> str:
    """The commit that is being delivered: what CodeBuild says, or the checkout's."""
    told = os.environ.get("CODEBUILD_RESOLVED_SOURCE_VERSION")
    if told:
        return told
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def parameter(ssm: Any, name: str) -> str | None:
    """A parameter's decrypted value; None where there is none."""
    try:
        return ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        return None


def tell_slack(ssm: Any, stack: str, text: str) -> None:
    """Posts a text to the stack's webhook, if it has one; what goes wrong is said, and no failure
    of what is told.
    """
    try:
        url = parameter(ssm, stack_name(SLACK_PARAMETER, stack))
        if url is None:
            return
        body = json.dumps({"text": text}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, body, headers)
        urllib.request.urlopen(request, timeout=SLACK_TIMEOUT_S).close()
    except (BotoCoreError, ClientError, OSError, ValueError) as error:
        # Whoever knows the webhook can write there: its URL is in no message of these.
        print(f"tl-fif: Slack was not told: {error}", file=sys.stderr)

"""What the stages' commands share: how they speak to AWS, and to who runs them."""

import sys
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tools.outputs import OutputsError

_CALLS = Config(connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 4})


# The exit codes of a stage's command: it failed; and nobody can say, so that nothing is undone.
FAILED, CANNOT_SAY = 1, 3


class StageError(RuntimeError):
    """The stage fails; the message says why and what to do."""


class UnjudgedError(StageError):
    """What was to be judged could not be, by no fault of its own."""


def client(service: str, region: str | None, config: Config | None = None) -> Any:
    """A client of an AWS API; without a region, in that of the environment."""
    merged = _CALLS.merge(config) if config else _CALLS
    return boto3.client(service, region_name=region, config=merged)


def ended(run: Callable[[], int]) -> int:
    """What a command returns, or 1 with one line of error; 3 of what could not be judged."""
    try:
        return run()
    except UnjudgedError as error:
        print(f"tl-fif: {error}", file=sys.stderr)
        return CANNOT_SAY
    except (StageError, OutputsError) as error:
        print(f"tl-fif: {error}", file=sys.stderr)
    except ClientError as error:
        print(f"tl-fif: AWS refuses: {error}", file=sys.stderr)
    except BotoCoreError as error:
        print(f"tl-fif: AWS cannot be asked: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("tl-fif: interrupted", file=sys.stderr)
        return 130
    return FAILED


def parameter(ssm: Any, name: str) -> str | None:
    """A parameter's decrypted value; None where there is none."""
    try:
        return ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        return None

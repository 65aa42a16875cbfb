"""AWS's APIs by boto3, which is imported on use: most requests to the router need none of them."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast


class Unavailable(Exception):
    """An API is throttling, silent or refusing; the message is its error code."""


def client(
    service: str,
    region: str | None = None,
    *,
    connect_s: float,
    read_s: float,
    tries: int = 1,
    connections: int = 10,
) -> Any:
    """Makes a client whose calls end within `tries` times both time-outs.

    A conditional write must have one try: repeated by the client it would refuse itself.
    """
    import boto3  # pyright: ignore[reportMissingTypeStubs]
    from botocore.config import Config  # pyright: ignore[reportMissingTypeStubs]

    config = Config(
        connect_timeout=connect_s,
        read_timeout=read_s,
        retries={"total_max_attempts": tries},
        max_pool_connections=connections,
    )
    boto: Any = boto3
    return boto.client(service, region_name=region, config=config)


def errors() -> tuple[type[Exception], type[Exception]]:
    """What a call can raise; for `except`, which asks only when something was raised."""
    from botocore.exceptions import (  # pyright: ignore[reportMissingTypeStubs]
        BotoCoreError,
        ClientError,
    )

    return BotoCoreError, ClientError


def code(error: Exception) -> str:
    """An error's code, or its name when the API did not answer."""
    response = _response(error)
    return response["Error"]["Code"] if response else type(error).__name__


def status(error: Exception) -> int | None:
    """The HTTP status of an error, or None when the API did not answer."""
    response = _response(error)
    return response["ResponseMetadata"]["HTTPStatusCode"] if response else None


def is_without_credentials(error: Exception) -> bool:
    """Whether a client had none to sign its call with, or could not have them renewed."""
    from botocore.exceptions import (  # pyright: ignore[reportMissingTypeStubs]
        CredentialRetrievalError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    kinds = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)
    return isinstance(error, kinds)


def _response(error: Exception) -> dict[str, Any] | None:
    response: object = getattr(error, "response", None)
    return cast("dict[str, Any]", response) if isinstance(response, dict) else None


@contextmanager
def answering() -> Generator[None, None, None]:
    """Raises Unavailable for whatever a call within raises."""
    try:
        yield
    except errors() as error:
        raise Unavailable(code(error)) from error

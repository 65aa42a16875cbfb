"""Clients of AWS's services, through the endpoint."""

from typing import Any

import pytest
from support.calls import ClientOf

from local.aws.moto import Moto


@pytest.fixture
def s3(client_of: ClientOf, moto: Moto) -> Any:
    moto.client("s3").create_bucket(Bucket="replies")
    return client_of("s3")

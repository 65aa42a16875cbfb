"""A local cloud with a pipeline's stack, one for the tests of a file."""

from collections.abc import Iterator

import pytest
from support.clouds import running
from support.delivering import MINUTE_S, Site
from support.program import PIPED

from local.aws.ec2 import Delays
from local.cloud import Options
from tools.delivery import deploy


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The cloud, one for the tests of a file."""
    options = Options(
        config=PIPED, seconds_per_minute=MINUTE_S, workers=1, delays=Delays(pending_s=3600)
    )
    with running(options) as (cloud, run):
        yield Site(cloud, run, tmp_path_factory.mktemp("delivery"))


@pytest.fixture
def site(
    deployed: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Site:
    """The same, with the environment of its operator."""
    for name, value in deployed.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(deploy, "EXPORTED", deployed.folder / "exported.env")
    deployed.capture = capsys
    return deployed

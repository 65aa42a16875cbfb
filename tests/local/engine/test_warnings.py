"""What the program warns of in a deployment by Pulumi's engine is said, though the rest is not."""

import logging
from pathlib import Path

import pytest

from local.deployment.provider.cloud import CloudFile
from local.engine.cli import Done
from local.engine.deployment import Deployment
from recording.model import Recording

SAID = """
 +  pulumi:pulumi:Stack tl-fif-dev created 1 warning
Diagnostics:
  pulumi:pulumi:Stack (tl-fif-dev):
    warning: budget:capEur = 10 is below the fixed cost of €12.42 a month: raise it
"""


class Quiet:
    """A workspace whose every command works."""

    def run(self, *words: str) -> Done:
        return Done(code=0, output=SAID, seconds=1)


def test_a_warning_of_a_deployment_that_worked_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = CloudFile(
        stack="dev",
        region="us-east-1",
        moto_url="http://127.0.0.1:9",
        queue_host="127.0.0.1",
        queue_port=9,
        queue_password="x",
        api_url="",
    )
    recording = Recording(stack="dev", resources=[], outputs={})
    monkeypatch.setattr(Deployment, "workspace", lambda self, config: Quiet())
    monkeypatch.setattr(Deployment, "recording", lambda self: recording)
    assert Deployment(tmp_path, cloud).up() is recording
    said = "budget:capEur = 10 is below the fixed cost of €12.42 a month: raise it"
    assert [each.getMessage() for each in caplog.records] == [said]
    assert caplog.records[0].levelno == logging.WARNING

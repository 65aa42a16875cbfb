"""The way to take a resource out of a stack without its deletion (docs/operating.md, Upgrading)."""

from pathlib import Path

import pytest
from support.engine import needs_engine, site

from local.engine.cli import QUIET
from recording.model import ROOT
from recording.shipped import stack_file

pytestmark = [pytest.mark.engine, pytest.mark.integration, needs_engine]

# A policy beside its topic, as the fence was beside its API, and what was made after it.
BESIDE = """
import pulumi
import pulumi_aws as aws
topic = aws.sns.Topic("topic")
policy = '{"Version": "2012-10-17", "Statement": []}'
fence = aws.sns.TopicPolicy("fence", arn=topic.arn, policy=policy)
aws.sns.Topic("later", opts=pulumi.ResourceOptions(depends_on=[fence]))
"""
WITHOUT = """
import pulumi_aws as aws
aws.sns.Topic("topic")
aws.sns.Topic("later")
"""


async def test_a_resource_leaves_the_state_and_nothing_is_deleted(tmp_path: Path) -> None:
    project = tmp_path / "program"
    project.mkdir()
    for file in (ROOT / "Pulumi.yaml", stack_file("dev")):
        (project / file.name).write_text(file.read_text())
    (project / ".venv").symlink_to(ROOT / ".venv")
    (project / "__main__.py").write_text(BESIDE)
    async with site("dev", tmp_path / "site", project=project) as here:
        await here.configure()
        await here.do("up", *QUIET)
        (project / "__main__.py").write_text(WITHOUT)
        assert (await here.steps())["fence"] == "delete"

        await here.do("up", *QUIET, "--exclude", "**TopicPolicy::*")
        resources = (await here.state())["deployment"]["resources"]
        fence = next(each for each in resources if each["urn"].endswith("::fence"))
        await here.do("state", "delete", fence["urn"], "--yes")

        await here.do("preview", "--expect-no-changes")
        attributes = here.moto.client("sns").get_topic_attributes(TopicArn=fence["inputs"]["arn"])
        assert '"Statement":[]' in attributes["Attributes"]["Policy"]

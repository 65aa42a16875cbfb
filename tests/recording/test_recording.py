"""The recorder: the real program runs in this process, again and again, and its errors come out as
themselves.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime import MockCallArgs, MockResourceArgs

from recording import kinds
from recording.evaluate import evaluate
from recording.invented import RecordingBackend
from recording.model import ROOT, Recording

PROGRAM = """
import pulumi
import pulumi_aws as aws

class Box(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("test:index:Box", name)
        child = pulumi.ResourceOptions(parent=self)
        topic = aws.sns.Topic(f"{name}-topic", opts=child)
        aws.sns.TopicSubscription(
            f"{name}-mail", topic=topic.arn, protocol="email", endpoint="a@b.c", opts=child
        )
        self.arn = topic.arn

pulumi.export("arn", Box("box").arn)
pulumi.export("size", pulumi.Config().get_int("size"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: test\nruntime: python\n")
    (tmp_path / "Pulumi.one.yaml").write_text("config:\n  aws:region: eu-west-1\n  test:size: 3\n")
    (tmp_path / "__main__.py").write_text(PROGRAM)
    return tmp_path


def test_records_inputs_outputs_parents_and_dependencies(project: Path) -> None:
    recording = evaluate("one", project_dir=project)
    topic = recording.one(kinds.monitoring.TOPIC.token)
    mail = recording.one(kinds.monitoring.TOPIC_SUBSCRIPTION.token, "box-mail")
    box = recording.one("test:index:Box")
    assert topic.urn == "urn:pulumi:one::test::test:index:Box$aws:sns/topic:Topic::box-topic"
    assert (topic.parent, box.custom, topic.custom) == (box.urn, False, True)
    assert mail.dependencies == [topic.urn]
    assert mail.inputs["topic"] == topic.outputs["arn"] == recording.outputs["arn"]
    assert topic.outputs["arn"].startswith("arn:aws:sns:eu-west-1:")
    assert recording.outputs["size"] == 3


def test_config_can_be_overridden(project: Path) -> None:
    assert evaluate("one", project_dir=project, config={"test:size": 4}).outputs["size"] == 4


def test_the_bill_is_the_programs_own(project: Path) -> None:
    assert evaluate("one", project_dir=project).bill == []
    assert evaluate("dev").bill[0].keys() >= {"what", "usd", "per", "unit", "key"}


def test_runs_inside_an_event_loop(project: Path) -> None:
    async def run() -> Recording:
        return evaluate("one", project_dir=project)

    assert asyncio.run(run()).stack == "one"


def test_unknown_stack_names_the_known_ones(project: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no stack 'two'; there are: one"):
        evaluate("two", project_dir=project)


def test_one_says_what_there_is(project: Path) -> None:
    with pytest.raises(LookupError, match="named nope, of that type there are: box-topic"):
        evaluate("one", project_dir=project).one(kinds.monitoring.TOPIC.token, "nope")


def test_an_error_of_the_program_is_raised_as_itself(project: Path) -> None:
    (project / "__main__.py").write_text(PROGRAM + "\nraise ZeroDivisionError('here')\n")
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="here"):
        evaluate("one", project_dir=project)
    assert time.monotonic() - started < 5


def test_an_error_inside_an_apply_is_raised_as_itself(project: Path) -> None:
    (project / "__main__.py").write_text(PROGRAM + "\nBox('b').arn.apply(lambda arn: 1 / 0)\n")
    with pytest.raises(ZeroDivisionError):
        evaluate("one", project_dir=project)


def test_an_error_of_the_back_end_is_raised_as_itself(project: Path) -> None:
    class Full(RecordingBackend):
        def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
            if args.typ == kinds.monitoring.TOPIC.token:
                raise OSError("no space")
            return super().new_resource(args)

    with pytest.raises(OSError, match="no space"):
        evaluate("one", Full("one", "eu-west-1"), project_dir=project)


def test_a_question_without_an_answer_names_its_token(project: Path) -> None:
    (project / "__main__.py").write_text("import pulumi_aws as aws\naws.get_partition()\n")
    with pytest.raises(LookupError, match="aws:index/getPartition:getPartition"):
        evaluate("one", project_dir=project)


def test_after_an_error_the_next_evaluation_is_clean(project: Path) -> None:
    (project / "__main__.py").write_text("raise ValueError('once')")
    with pytest.raises(ValueError, match="once"):
        evaluate("one", project_dir=project)
    (project / "__main__.py").write_text(PROGRAM)
    assert evaluate("one", project_dir=project).outputs["size"] == 3


def test_a_back_end_sees_whole_numbers_and_names(project: Path) -> None:
    seen: list[Any] = []

    class Watching(RecordingBackend):
        def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
            seen.append((args.typ, args.name, args.inputs, args.custom))
            return super().new_resource(args)

        def call(self, args: MockCallArgs) -> dict[str, Any]:
            raise AssertionError(args.token)

    (project / "__main__.py").write_text(
        "import pulumi_aws as aws\naws.sqs.Queue('q', delay_seconds=90, tags={'a': 'b'})\n"
    )
    evaluate("one", Watching("one", "eu-west-1"), project_dir=project)
    assert seen == [("aws:sqs/queue:Queue", "q", {"delaySeconds": 90, "tags": {"a": "b"}}, True)]
    assert isinstance(seen[0][2]["delaySeconds"], int)


def test_two_evaluations_of_the_program_are_equal() -> None:
    assert evaluate("dev", project_dir=ROOT) == evaluate("dev", project_dir=ROOT)

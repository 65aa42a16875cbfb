"""The guardian's line for CloudWatch: what is in it each minute, and what only when it happens."""

import dataclasses
import json

import pytest
from support.world import World

from guardian import news
from tlfif import names
from tlfif.queue.guarding import News

AT_REST = News(depth=0, oldest_s=0.0, ready=0, coming=0, counts={}, boot={}, money={})


@pytest.mark.story("OPS-004")
def test_at_rest_it_emits_what_is_paid_for_all_the_time_and_nothing_else() -> None:
    assert news.metrics(AT_REST) == {"QueueDepth": 0, "OldestJobSeconds": 0.0}
    known = dataclasses.replace(AT_REST, money={"gpu_hours_left": 17.256})
    assert news.metrics(known)["GpuHoursLeft"] == 17.26
    assert news.metrics(known).keys() <= names.STEADY_METRICS


@pytest.mark.story("OPS-004")
def test_what_happened_is_emitted_by_its_own_name() -> None:
    endings = ("done", "failed", "expired", "cancelled", "dead", "failed_boots")
    counts = {ending: number for number, ending in enumerate(endings, 1)}
    steps = {"started": 1_000.0, "booting": 31_000.0, "ready": 91_500.0}
    found = news.metrics(News(3, 12.34, 1, 2, counts, steps, {}))
    assert found == {
        "QueueDepth": 3,
        "OldestJobSeconds": 12.3,
        "NodesReady": 1,
        "NodesComing": 2,
        "JobsDone": 1,
        "JobsFailed": 2,
        "JobsExpired": 3,
        "JobsCancelled": 4,
        "DeadLetters": 5,
        "FailedBoots": 6,
        "BootMachineSeconds": 30.0,
        "BootEngineSeconds": 60.5,
    }


def test_a_boot_that_lacks_a_step_is_told_without_its_parts() -> None:
    known = dataclasses.replace(AT_REST, boot={"started": 1.0, "ready": 2.0})
    assert news.metrics(known).keys() == news.metrics(AT_REST).keys()


@pytest.mark.integration
@pytest.mark.story("OPS-004")
async def test_the_guardian_says_it_in_one_line_with_seconds_as_seconds(
    world: World, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.infer()
    capsys.readouterr()
    await world.guard()
    [line] = [each for each in capsys.readouterr().out.splitlines() if '"QueueDepth"' in each]
    [told] = json.loads(line)["_aws"]["CloudWatchMetrics"]
    assert told["Namespace"] == names.NAMESPACE_QUEUE
    units = {each["Name"]: each["Unit"] for each in told["Metrics"]}
    assert units["QueueDepth"] == "Count"
    assert units["OldestJobSeconds"] == "Seconds"

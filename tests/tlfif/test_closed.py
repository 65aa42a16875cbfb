"""What is accepted while money or failed boots keep nodes from being started (OPS-003)."""

import json
import time

import pytest
import redis
from support.jobs import BOOT, LONG, NODE, accept, break_lane, heartbeat, laned, new_job, refuse

from tlfif import names
from tlfif.queue import accepting, guarding, rounds, scripts

pytestmark = [pytest.mark.integration, pytest.mark.story("OPS-003")]

UNTIL = 4_000_000_000
CLOSED = {"degree": "no_starts", "reason": "money ends", "until": "2096-10-02T07:06:40Z"}


def close(client: "redis.Redis") -> None:
    scripts.run(client, rounds.close(CLOSED, UNTIL))


def fail(client: "redis.Redis", times: int = names.BOOT_FAILURES_BOUND, first: int = 0) -> None:
    """So many boots of a node that came to nothing."""
    for life in range(first, first + times):
        seen = json.dumps({"launched": life, "counted": life + 1})
        scripts.run(client, rounds.looked({NODE: seen}, {NODE: "it was silent"}))


def half_open(client: "redis.Redis") -> None:
    """As if the hour was over."""
    client.hset(names.BREAKER, "until", "1")


def status(client: "redis.Redis") -> accepting.Status:
    return scripts.run(client, accepting.status())


def test_while_starts_are_closed_the_lane_answers_all_prompts(client: "redis.Redis") -> None:
    close(client)
    answer = accept(client, new_job(prompt=LONG), laned())
    assert (answer.wake, answer.call) == (0, True)
    assert client.expiretime(names.CLOSED) == UNTIL


def test_without_a_lane_it_is_refused_as_by_the_latch(client: "redis.Redis") -> None:
    close(client)
    refused = refuse(client, new_job())
    assert (refused.why, json.loads(refused.detail)) == ("closed", CLOSED)
    break_lane(client)
    assert refuse(client, new_job(), laned()).why == "closed"
    assert client.keys("job:*") == []


@pytest.mark.parametrize("phase", ["booting", "ready"])
def test_a_node_that_is_there_goes_on_and_gets_no_companion(
    client: "redis.Redis", phase: str
) -> None:
    close(client)
    heartbeat(client, phase)
    two = accepting.Limits(node_count=2, slots=1)
    assert [accept(client, new_job(str(each)), two).wake for each in range(3)] == [0, 0, 0]


def test_the_guardian_starts_nothing_while_it_is_closed_and_opens_it_again(
    client: "redis.Redis",
) -> None:
    accept(client, new_job())
    client.delete(names.WAKE)
    close(client)
    assert scripts.run(client, guarding.reconcile("t", 1, 8)).wake == 0
    assert scripts.run(client, rounds.close(CLOSED, UNTIL)) is False, "nothing new"
    assert scripts.run(client, rounds.close(None, UNTIL)) is True
    assert scripts.run(client, rounds.close(None, UNTIL)) is False
    assert scripts.run(client, guarding.reconcile("t", 1, 8)).wake == 1


def test_after_three_failed_boots_in_a_row_none_is_started_and_it_is_said_since_when(
    client: "redis.Redis",
) -> None:
    fail(client, 2)
    assert accept(client, new_job()).wake == 1
    client.flushall()
    fail(client)
    refused = refuse(client, new_job())
    told = json.loads(refused.detail)
    assert (refused.why, told["why"]) == ("broken", "it was silent")
    assert 0 < refused.wait_ms <= names.BREAKER_OPEN_S * 1000
    broken = status(client).broken or {}
    assert (broken["failed"], broken["since"], broken["node"]) == (3, told["since"], NODE)
    assert (status(client).failure or {})["message"] == f"node {NODE}: it was silent"
    assert accept(client, new_job(), laned()).call, "the lane is there for it"


def test_a_failure_that_is_told_twice_counts_once(client: "redis.Redis") -> None:
    for _ in range(3):
        fail(client, 1)
    assert client.hget(names.BREAKER, "failed") == "1"
    assert client.hget(names.NEWS, "failed_boots") == "1"


def test_after_an_hour_one_node_may_try_and_a_failure_closes_it_again(
    client: "redis.Redis",
) -> None:
    fail(client)
    half_open(client)
    two = accepting.Limits(node_count=2, slots=1)
    accept(client, new_job("a"), two)
    client.delete(names.WAKE)
    answer = accept(client, new_job("b"), two)
    assert answer.wake == 1, "not two, until one was ready"
    fail(client, 1, first=10)
    client.delete(names.WAKE)
    assert refuse(client, new_job("c"), two).why == "broken"


@pytest.mark.parametrize("how", ["ready", "mend"])
def test_a_node_that_is_ready_or_an_operator_ends_it(client: "redis.Redis", how: str) -> None:
    fail(client)
    if how == "ready":
        heartbeat(client)
        client.delete(names.node_key(NODE), names.NODES)
    else:
        assert scripts.run(client, rounds.mend()) == 3
    assert accept(client, new_job()).wake == 1
    assert status(client).broken is None


def test_a_node_that_the_guardian_sees_ready_after_the_failures_ends_it_too(
    client: "redis.Redis",
) -> None:
    """The scripts in an image that was baked before the breaker do not."""
    fail(client)

    def see(launched: int, node: str = "i-2") -> bool:
        seen = json.dumps({"launched": launched, "ready": True})
        scripts.run(client, rounds.looked({node: seen}, {}))
        return status(client).broken is None

    before, after = int(time.time()) - 60, int(time.time()) + 60
    assert not see(before), "it says nothing of those that failed since"
    assert see(after)
    fail(client, first=100)
    scripts.run(client, rounds.looked({"i-2": json.dumps({"launched": after})}, {}))
    assert see(after)
    client.hset(names.BREAKER, mapping={"failed": 3, "since": 1, "until": 2, "why": "", "node": ""})
    assert not see(after), "it was ready before"


def test_while_the_trial_boots_its_jobs_are_accepted(client: "redis.Redis") -> None:
    fail(client)
    client.hset(names.STARTS, NODE, 1)
    assert accept(client, new_job()).wake == 0


def test_what_was_seen_of_a_node_that_is_gone_is_forgotten(client: "redis.Redis") -> None:
    heartbeat(client)
    scripts.run(client, rounds.looked({NODE: "{}"}, {}))
    look = scripts.run(client, rounds.look([NODE]))
    assert (look.nodes[NODE].phase, look.nodes[NODE].boot) == ("ready", BOOT)
    assert look.nodes[NODE].ready_ago_s is not None
    scripts.run(client, rounds.looked({}, {}))
    assert client.hkeys(names.WATCHED) == []


# --- all the nodes that a backlog needs, at once


@pytest.mark.story("LAM-004")
def test_jobs_that_need_more_nodes_than_were_promised_wake_those_at_once(
    client: "redis.Redis",
) -> None:
    two = accepting.Limits(node_count=2, slots=2)
    first = new_job("a")
    assert accept(client, first, two).wake == 1
    assert accept(client, new_job("b"), two).wake == 0
    assert accept(client, new_job("c"), two).wake == 0, "whoever has the right is asking EC2"
    scripts.run(client, accepting.woken(first.id, [NODE], kept=True))
    assert accept(client, new_job("d"), two).wake == 2, "of which EC2 has promised one"
    client.delete(names.WAKE)
    scripts.run(client, accepting.woken("x", ["i-2"], kept=True))
    client.set(names.WAKE, "kept")
    assert accept(client, new_job("e"), two).wake == 0, "both are promised"
    found = scripts.run(client, guarding.reconcile("t", 2, 2))
    assert found.wake == 0

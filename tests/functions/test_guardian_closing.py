"""The latch's three places where one of them is away, lost or late, on a queue and a bucket in
memory.
"""

import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
import redis
from botocore.exceptions import ClientError
from support.money import Bucket

from guardian.closing import BELIEVED_S, Closing
from tlfif import names
from tlfif.money import latching, months
from tlfif.money.deciding import Decision, Degree
from tlfif.money.documents import Latch
from tlfif.nodes import Node
from tlfif.queue import rounds, scripts

pytestmark = pytest.mark.story("OPS-003")

AWAY = ClientError({"Error": {"Code": "SlowDown"}}, "GetObject")
OPEN, ENDED = (Decision(degree, "spent", 0.0) for degree in (Degree.OPEN, Degree.LATCHED))


class Stack:
    """A closing guardian's queue, bucket and one node with this month's tag, at `now`."""

    def __init__(self, queue: "redis.Redis") -> None:
        self.queue, self.bucket, self.now = queue, Bucket(), time.time()
        self.nodes = [Node("i-1", "stopped", latched=True, latch=months.month(self.now))]
        self.untagged: list[str] = []
        ec2 = SimpleNamespace(
            create_tags=lambda Resources, Tags: None,
            delete_tags=lambda Resources, Tags: self.untagged.extend(Resources),
        )
        self.closing = Closing(queue, ec2, self.bucket, "b")

    def keep(self, decision: Decision = OPEN) -> str:
        told = scripts.run(self.queue, rounds.look([node.id for node in self.nodes]))
        return self.closing.keep(self.nodes, told, decision, self.now)

    def store(self, until: float) -> None:
        latch = latching.new("stored", "guardian", self.now, until)
        self.bucket.objects[Latch.KEY] = latch.text()

    def key(self) -> dict[str, Any]:
        return json.loads(self.queue.get(names.LATCH) or "{}")


@pytest.fixture
def stack() -> Iterator[Stack]:
    with fakeredis.FakeRedis(decode_responses=True, version=(7, 2)) as queue:
        yield Stack(queue)


@pytest.mark.parametrize("then", ["latched", "lifted", "none"])
def test_while_the_document_cannot_be_read_the_tag_is_the_latch(stack: Stack, then: str) -> None:
    stack.bucket.refuses = AWAY
    for _ in range(2):
        assert "tag" in stack.keep()
        assert 0 < stack.queue.ttl(names.LATCH) <= BELIEVED_S
    assert stack.untagged == []
    stack.bucket.refuses = None
    end = months.end(stack.now)
    if then == "lifted":
        stack.store(stack.now)
        assert (stack.keep(), stack.untagged) == ("", ["i-1"])
        assert stack.bucket.stored(Latch).reason == "stored"
        return
    if then == "latched":
        stack.store(end)
    assert stack.keep()
    assert (stack.untagged, stack.bucket.stored(Latch).until) == ([], end)
    assert stack.queue.expiretime(names.LATCH) == int(end)


def test_money_that_ends_latches_also_where_the_tag_was_believed(stack: Stack) -> None:
    stack.bucket.refuses = AWAY
    stack.keep()
    assert stack.keep(ENDED) == "spent"
    assert stack.key()["until"] == months.iso(months.end(stack.now))


def test_the_old_months_tag_goes_although_the_document_cannot_be_read(stack: Stack) -> None:
    stack.nodes = [Node("i-1", "stopped", latched=True, latch="2026-01")]
    stack.bucket.refuses = AWAY
    assert (stack.keep(), stack.untagged) == ("", ["i-1"])


def hold(stack: Stack, until: float) -> None:
    """The queue's latch until that time; by its clock it is there for a moment longer."""
    shown = latching.shown(latching.new("held", "budget_killer", stack.now, until))
    stack.queue.set(names.LATCH, json.dumps(shown), ex=60)


@pytest.mark.parametrize("ended", [False, True])
def test_the_last_months_key_is_no_latch_of_this_one(stack: Stack, ended: bool) -> None:
    stack.nodes = [Node("i-1", "stopped", latched=True, latch="2026-01")]
    hold(stack, stack.now - 1)
    assert stack.keep(ENDED if ended else OPEN) == ("spent" if ended else "")
    if ended:
        assert stack.queue.expiretime(names.LATCH) == int(months.end(stack.now))
        assert stack.bucket.stored(Latch).until == months.end(stack.now)
    else:
        assert (stack.untagged, stack.bucket.objects) == (["i-1"], {})


def test_what_the_queue_has_is_stored_until_it_ends(stack: Stack) -> None:
    """The budget killer's may end before the month."""
    until = int(stack.now) + 30
    hold(stack, until)
    assert stack.keep() == "held"
    assert stack.bucket.stored(Latch).until == until
    stack.queue.delete(names.LATCH)
    stack.now += 60
    assert (stack.keep(), stack.untagged) == ("", ["i-1"]), "it is over"


def test_without_queue_and_document_the_tag_latches_until_it_is_lifted(stack: Stack) -> None:
    assert "tag" in stack.closing.without_queue(stack.nodes, stack.now)
    stack.bucket.refuses = AWAY
    assert "tag" in stack.closing.without_queue(stack.nodes, stack.now)
    stack.bucket.refuses = None
    stack.store(stack.now)
    assert stack.closing.without_queue(stack.nodes, stack.now) == ""

"""Fenced replies: exactly one final one, on an S3 that times out, refuses and answers late
(EC2-003).
"""

import contextlib
import io
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    ReadTimeoutError,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import RedisError

from tlfif import replies as shared
from tlfif.queue.working import ClaimedJob
from worker import replies
from worker.replies import Replies, Reply, StorageError, Written

pytestmark = pytest.mark.story("EC2-003")

KEY = "replies/ada/1.json"
RUNNING, DONE = {"status": "running", "text": "a"}, {"status": "done", "text": "ab"}
FAULTS = ("timeout", "late", "lost", "500 after", "500", "409", "refused")


def client_error(status: int, code: str) -> ClientError:
    return ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
    )


class S3:
    """One object with S3's conditions.

    `faults` hit the next writes, one each; a `late` write arrives with `settle()`.

    timeout: written, but no answer. late: no answer, written later if its condition still holds.
    lost: neither.
    """

    def __init__(self) -> None:
        self.versions: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.unreadable = 0
        self.late: list[dict[str, Any]] = []
        self._etag = 0

    def put_object(self, **request: Any) -> dict[str, Any]:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "late":
            self.late.append(request)
        if fault in ("late", "lost"):
            raise ReadTimeoutError(endpoint_url="s3")
        errors = {
            "409": (409, "ConditionalRequestConflict"),
            "500": (500, "InternalError"),
            "refused": (403, "AccessDenied"),
        }
        if fault in errors:
            raise client_error(*errors[fault])
        etag = self._write(request)
        if fault == "timeout":
            raise ReadTimeoutError(endpoint_url="s3")
        if fault == "500 after":
            raise client_error(500, "InternalError")
        return {"ETag": etag}

    def _write(self, request: dict[str, Any]) -> str:
        current = f'"{self._etag}"' if self._etag else None
        if request.get("IfNoneMatch") == "*" and current is not None:
            raise client_error(412, "PreconditionFailed")
        if "IfMatch" in request and current is None:
            raise client_error(404, "NoSuchKey")
        if "IfMatch" in request and request["IfMatch"] != current:
            raise client_error(412, "PreconditionFailed")
        assert "IfMatch" in request or "IfNoneMatch" in request, "every write is conditional"
        self.versions.append(json.loads(request["Body"]))
        self._etag += 1
        return f'"{self._etag}"'

    def get_object(self, **request: Any) -> dict[str, Any]:
        if self.unreadable:
            self.unreadable -= 1
            raise ConnectTimeoutError(endpoint_url="s3")
        if not self._etag:
            raise client_error(404, "NoSuchKey")
        return {
            "Body": io.BytesIO(json.dumps(self.versions[-1]).encode()),
            "ETag": f'"{self._etag}"',
        }

    def delete(self) -> None:
        self._etag = 0

    def settle(self) -> None:
        """The writes that were still on their way arrive."""
        late, self.late = self.late, []
        for request in late:
            with contextlib.suppress(ClientError):
                self._write(request)

    @property
    def finals(self) -> list[dict[str, Any]]:
        return [body for body in self.versions if body["status"] in shared.FINAL]


class World:
    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.s3 = S3()
        self.holder, self.queue_is_down = "", False
        self.pool = pool

    def reply(self, worker: str = "a", attempt: int = 1) -> Reply:
        job = ClaimedJob("1-0", "1", KEY, attempt, "", {})
        mine = Replies(lambda: self.s3, "bucket", worker, self.pool)
        return Reply(mine, HeldBy(self, worker, job))


@dataclass
class HeldBy:
    """A lease that the world's holder has."""

    world: World
    worker: str
    job: ClaimedJob

    async def holds(self) -> bool:
        if self.world.queue_is_down:
            raise RedisError("gone")
        return self.world.holder == self.worker


@pytest_asyncio.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(replies, "CONFLICT_PAUSE_S", 0.001)
    with ThreadPoolExecutor(2) as pool:
        yield World(pool)


async def test_partial_replies_and_the_final_one_follow_each_other(world: World) -> None:
    reply = world.reply()
    for body in (RUNNING, RUNNING, DONE):
        assert await reply.write(body) is Written.MINE
    assert [(body["status"], body["sequence"]) for body in world.s3.versions] == [
        ("running", 1),
        ("running", 2),
        ("done", 3),
    ]
    assert world.s3.versions[-1] == {**DONE, "worker": "a", "attempt": 1, "sequence": 3}


@pytest.mark.parametrize("fault", ["timeout", "500 after"])
async def test_a_write_that_stands_although_it_failed_is_mine(world: World, fault: str) -> None:
    reply = world.reply()
    await reply.write(RUNNING)
    world.s3.faults = [fault]
    assert await reply.write(RUNNING) is Written.MINE
    assert await reply.write(DONE) is Written.MINE
    assert [body["sequence"] for body in world.s3.versions] == [1, 2, 3]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("fault", ["late", "lost", "500", "refused"])
async def test_a_write_that_does_not_stand_is_an_error_and_can_be_repeated(
    world: World, fault: str, first: bool
) -> None:
    reply = world.reply()
    if not first:
        await reply.write(RUNNING)
    world.s3.faults = [fault]
    with pytest.raises(StorageError):
        await reply.write(DONE)
    assert await reply.write(DONE) is Written.MINE
    world.s3.settle()
    assert len(world.s3.finals) == 1


async def test_a_late_partial_of_my_own_is_adopted(world: World) -> None:
    reply = world.reply()
    world.s3.faults = ["late"]
    with pytest.raises(StorageError):
        await reply.write(RUNNING)
    world.s3.settle()
    assert await reply.write(DONE) is Written.MINE
    assert [body["sequence"] for body in world.s3.versions] == [1, 2]


async def test_a_late_final_of_my_own_is_the_final_one(world: World) -> None:
    reply = world.reply()
    world.s3.faults = ["late"]
    with pytest.raises(StorageError):
        await reply.write(DONE)
    world.s3.settle()
    assert await reply.write(DONE) is Written.MINE
    assert [body["sequence"] for body in world.s3.finals] == [1]


async def test_a_conflict_is_tried_again(world: World) -> None:
    world.s3.faults = ["409", "409"]
    assert await world.reply().write(DONE) is Written.MINE


async def test_endless_conflicts_are_an_error(world: World) -> None:
    world.s3.faults = ["409"] * 100
    with pytest.raises(StorageError, match="changed 6 times"):
        await world.reply().write(DONE)


async def test_an_object_that_was_deleted_is_written_anew(world: World) -> None:
    reply = world.reply()
    await reply.write(RUNNING)
    world.s3.delete()
    assert await reply.write(DONE) is Written.MINE


async def test_somebodys_final_reply_stands(world: World) -> None:
    late, mine = world.reply("a", 1), world.reply("b", 2)
    await late.write(RUNNING)
    assert await mine.write(DONE) is Written.MINE
    assert await late.write(DONE) is Written.FINAL
    assert await late.write({"status": "failed"}) is Written.FINAL
    assert [body["worker"] for body in world.s3.finals] == ["b"]


async def test_a_reply_written_by_the_router_stands(world: World) -> None:
    reply = world.reply()
    await reply.write(RUNNING)
    stopped = shared.PendingReply("1", KEY, "cancelled", "stopped")
    assert shared.write_final(world.s3, "bucket", stopped, "router") == "cancelled"
    assert await reply.write(DONE) is Written.FINAL


async def test_a_later_attempt_takes_over_and_the_earlier_one_stops(world: World) -> None:
    first, second = world.reply("a", 1), world.reply("b", 2)
    await first.write(RUNNING)
    assert await second.write(RUNNING) is Written.MINE
    assert await first.write(RUNNING) is Written.LOST
    assert await first.write(DONE) is Written.LOST
    assert await second.write(DONE) is Written.MINE


async def test_of_equal_attempts_the_lease_decides(world: World) -> None:
    """A job that was handed back is delivered again under the same number."""
    first, second = world.reply("a", 1), world.reply("b", 1)
    await first.write(RUNNING)
    assert await second.write(RUNNING) is Written.LOST
    world.holder = "b"
    assert await second.write(RUNNING) is Written.MINE
    assert await first.write(RUNNING) is Written.LOST


async def test_while_the_queue_does_not_say_whose_the_lease_is_nothing_is_lost(
    world: World,
) -> None:
    first, second = world.reply("a", 1), world.reply("b", 1)
    await first.write(RUNNING)
    world.holder, world.queue_is_down = "b", True
    with pytest.raises(StorageError, match="does not say"):
        await second.write(DONE)
    world.queue_is_down = False
    assert await second.write(DONE) is Written.MINE


async def test_an_s3_that_cannot_be_read_either_is_an_error(world: World) -> None:
    reply = world.reply()
    world.s3.faults, world.s3.unreadable = ["timeout"], 1
    with pytest.raises(StorageError):
        await reply.write(DONE)
    assert await reply.write(DONE) is Written.MINE
    assert len(world.s3.finals) == 1


@settings(max_examples=300, deadline=None)
@given(data=st.data())
async def test_whatever_happens_there_is_one_final_reply(data: st.DataObject) -> None:
    """Two workers, the second with the lease, any faults, late writes arriving at any time."""
    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(replies, "CONFLICT_PAUSE_S", 0)
        world = World(pool)
        world.holder = "b"
        attempts = (1, data.draw(st.sampled_from([1, 2])))
        workers = {
            name: world.reply(name, number) for name, number in zip("ab", attempts, strict=True)
        }
        over: set[str] = set()
        world.s3.faults = data.draw(st.lists(st.sampled_from(["", *FAULTS]), max_size=12))
        for name, final, settle in data.draw(
            st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans()), max_size=12)
        ):
            if settle:
                world.s3.settle()
            if name not in over:
                await _step(workers[name], final, name, over)
        world.s3.faults.clear()
        if "b" not in over:
            assert await workers["b"].write(DONE) in (Written.MINE, Written.FINAL)
        world.s3.settle()
        assert len(world.s3.finals) == 1
        assert world.s3.versions[-1] == world.s3.finals[0]


async def _step(reply: Reply, final: bool, name: str, over: set[str]) -> None:
    """One write; a worker is over once its final reply stands, somebody else's does, or it has lost
    the job.
    """
    try:
        written = await reply.write({"status": "done" if final else "running"})
    except StorageError:
        return
    if final or written is not Written.MINE:
        over.add(name)


class Unsigned:
    """A client that was made while the metadata service was away: it never gets credentials."""

    def put_object(self, **_: Any) -> None:
        raise NoCredentialsError

    get_object = put_object


async def test_a_client_without_credentials_makes_way_for_a_new_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "NEW_CLIENT_AFTER_S", 0.0)
    clients = iter([Unsigned(), Unsigned(), world.s3])
    job = ClaimedJob("1-0", "1", KEY, 1, "", {})
    mine = Replies(lambda: next(clients), "bucket", "a", world.pool)
    reply = Reply(mine, HeldBy(world, "a", job))
    with pytest.raises(StorageError):
        await reply.write(RUNNING)
    assert mine.why_not == "S3 does not answer: NoCredentialsError"
    assert await reply.write(DONE) is Written.MINE
    assert mine.why_not == ""


async def test_who_waits_for_s3_goes_on_when_it_answers(world: World) -> None:
    mine = Replies(lambda: world.s3, "bucket", "a", world.pool)
    await mine.until_well()
    world.s3.unreadable = 2
    with pytest.raises(StorageError):
        await mine.warm_up()
    assert mine.why_not
    await mine.until_well()
    assert (mine.why_not, world.s3.unreadable) == ("", 0)


async def test_a_job_that_comes_back_to_its_worker_goes_on_counting(world: World) -> None:
    """Under the same number after a hand-back: its first body is no repetition of the last one's
    first.
    """
    mine = Replies(lambda: world.s3, "bucket", "a", world.pool)
    job = ClaimedJob("1-0", "1", KEY, 1, "", {})
    first, second = (Reply(mine, HeldBy(world, "a", job)) for _ in range(2))
    await first.write(RUNNING)
    assert await second.write(DONE) is Written.MINE
    assert [(body["status"], body["sequence"]) for body in world.s3.versions] == [
        ("running", 1),
        ("done", 2),
    ]

"""The watcher's answers, on a real Valkey and moto's S3: one final reply each (EC2-003)."""

import asyncio
import itertools

import pytest
from support import calm, jobs
from support.scripted_model import WORD, away
from support.watchers import BUCKET, LEASE_IDLE_S, LIMITS, Bench, until

from tlfif import names, replies
from tlfif.queue import accepting, guarding, scripts, working
from tlfif.queue.conversation import Message, of

pytestmark = [pytest.mark.integration, pytest.mark.story("EC2-003")]


async def test_a_job_is_streamed_to_s3_and_ends_done(bench: Bench) -> None:
    job = bench.submit("tokens=12 every=0.2", temperature=0.5)
    async with bench.watcher():
        reply = await bench.final(job)
    bodies = bench.versions(job)
    texts = [body["text"] for body in bodies]
    assert reply["text"] == 12 * WORD
    assert texts == sorted(texts, key=len)
    assert len(bodies) >= 3
    assert [body["sequence"] for body in bodies] == [*range(1, len(bodies) + 1)]
    assert {body["status"] for body in bodies[:-1]} == {"running"}
    assert (reply["id"], reply["attempt"], reply["prompt_tokens"], reply["completion_tokens"]) == (
        job.id,
        1,
        7,
        12,
    )
    assert reply["worker"].startswith("i-0a:")
    assert (
        reply["created_at"]
        <= reply["started_at"]
        <= reply["first_token_at"]
        <= reply["finished_at"]
    )
    assert reply["tokens_per_second"] == pytest.approx(5, rel=0.3)


async def test_first_bytes_come_at_once_and_then_once_a_second(bench: Bench) -> None:
    async with bench.watcher():
        job = bench.submit("tokens=30 every=0.1 first=0.6")
        await bench.final(job)
    calls = [call for call in bench.endpoint.calls if call.operation == "PutObject"]
    bodies = bench.versions(job)
    assert [body["text"] for body in bodies[:2]] == ["", WORD]
    assert calls[1].time + calls[1].duration_ms / 1000 - bodies[1]["first_token_at"] / 1000 < 0.25
    gaps = [later.time - earlier.time for earlier, later in itertools.pairwise(calls[1:-1])]
    assert gaps
    assert min(gaps) >= 0.99


async def test_a_slow_job_is_announced_before_its_first_token(bench: Bench) -> None:
    async with bench.watcher():
        job = bench.submit("tokens=1 first=5")
        await until(lambda: bench.reply(job))
        reply = bench.reply(job)
        assert reply is not None
        assert (reply["status"], reply["text"]) == ("running", "")
        assert reply["updated_at"] - reply["started_at"] < 1000


async def test_a_cancelled_job_stops_within_a_second_and_keeps_its_text(bench: Bench) -> None:
    async with bench.watcher():
        job = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(job))
        begun = calm.now()
        assert scripts.run(bench.redis, accepting.cancel(job.id, "ada"))[0] == "running"
        reply = await bench.final(job)
        assert calm.now() - begun < 1
        assert (reply["status"], reply["reason"]) == ("cancelled", "user")
        assert reply["text"].startswith(WORD)
        await until(lambda: bench.model.aborted == 1)


async def test_stop_cancels_what_runs(bench: Bench) -> None:
    async with bench.watcher(instance_id="i-stop") as watcher:
        job = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(job))
        scripts.run(bench.redis, accepting.stop())
        reply = await bench.final(job)
        assert (reply["status"], reply["reason"]) == ("cancelled", "stopped")
        watcher.stop()


async def test_a_reply_that_somebody_else_ended_is_acknowledged_and_left_alone(
    bench: Bench,
) -> None:
    async with bench.watcher():
        job = bench.submit("tokens=1000 every=0.05")
        await until(lambda: bench.reply(job))
        replies.write_final(
            bench.s3,
            BUCKET,
            guarding.PendingReply(job.id, job.reply_key, "cancelled", "stopped"),
            "router",
        )
        await until(lambda: not bench.redis.exists(names.job_key(job.id)))
        reply = bench.reply(job)
        assert reply is not None
        assert reply["worker"].startswith("router")
        await until(lambda: bench.model.running == 0)


async def test_an_expired_job_gets_its_reply(bench: Bench) -> None:
    job = bench.submit("tokens=1")
    bench.redis.delete(names.job_key(job.id))
    async with bench.watcher():
        await until(lambda: bench.reply(job))
        await until(lambda: not bench.redis.xlen(names.STREAM))
    reply = bench.reply(job)
    assert reply is not None
    assert (reply["status"], reply["text"], bench.model.asked) == ("expired", "", [])
    assert reply["finished_at"] >= reply["created_at"] > 0


async def test_what_the_model_refuses_fails_with_its_words(bench: Bench) -> None:
    async with bench.watcher():
        reply = await bench.final(bench.submit("refuse=400"))
    assert reply["status"] == "failed"
    assert "exceeds the available context size (2048 tokens)" in reply["error"]
    assert reply["error"].endswith("share 2048 tokens: send a shorter prompt")
    assert (len(bench.model.asked), bench.redis.xlen(names.DEAD_STREAM)) == (1, 0)


@pytest.mark.story("LAM-003")
async def test_a_conversation_reaches_the_engine_as_it_is(bench: Bench) -> None:
    messages: list[Message] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "tokens=9"},
        {"role": "assistant", "content": "tok "},
        {"role": "user", "content": "tokens=2"},
    ]
    job = jobs.new_job(messages=messages)
    async with bench.watcher():
        jobs.accept(bench.redis, job, LIMITS)
        reply = await bench.final(job)
        plain = await bench.final(bench.submit("tokens=1"))
    assert (reply["status"], reply["text"], plain["status"]) == ("done", "tok tok ", "done")
    assert bench.model.conversations == [messages, of({"prompt": "tokens=1"})]


async def test_an_answer_gets_what_its_prompt_leaves_and_says_so(bench: Bench) -> None:
    async with bench.watcher():
        plain, lowered, refused = [
            await bench.final(bench.submit(prompt, max_tokens=1024))
            for prompt in ("tokens=2", "tokens=2 prompt=1500", "refuse=400")
        ]
    assert (plain["status"], plain["finish_reason"], "notice" in plain) == ("done", "stop", False)
    assert lowered["status"] == "done"
    assert lowered["notice"].startswith("max_tokens was lowered from 1024 to 548")
    assert refused["status"] == "failed"
    assert [bench.model.asked.count(each) for each in ("tokens=2 prompt=1500", "refuse=400")] == [
        2,
        2,
    ], "asked once more, without max_tokens, and not again"


@pytest.mark.parametrize("how", ["break_after", "error_after"])
async def test_the_third_failed_delivery_is_dead(bench: Bench, how: str) -> None:
    async with bench.watcher():
        job = bench.submit(f"tokens=5 every=0.01 {how}=2")
        reply = await bench.final(job)
    assert (reply["status"], reply["attempt"]) == ("failed", 3)
    assert reply["error"].startswith("gave up after 3 attempts: ModelBrokeError")
    assert len(bench.model.asked) == 3
    ((_, buried),) = bench.redis.xrange(names.DEAD_STREAM)
    assert buried["id"] == job.id
    assert "ModelBrokeError" in buried["reason"]


async def test_a_job_that_killed_three_workers_is_dead(bench: Bench) -> None:
    job = bench.submit("tokens=1")
    scripts.run(bench.redis, working.create_group())
    bench.redis.xreadgroup(names.GROUP, "i-dead:1", {names.STREAM: ">"})
    for number in (2, 3):
        bench.redis.xautoclaim(names.STREAM, names.GROUP, f"i-dead:{number}", 0)
    async with bench.watcher():
        reply = await bench.final(job)
    assert (reply["status"], reply["error"]) == (
        "failed",
        "gave up after 3 attempts: its workers died",
    )
    assert (bench.model.asked, bench.redis.xlen(names.DEAD_STREAM)) == ([], 1)


async def test_a_model_that_is_away_costs_no_delivery(bench: Bench) -> None:
    async with bench.watcher():
        await until(lambda: bench.nodes() == {"i-0a": "ready"})
        with away(bench.model):
            job = bench.submit("tokens=2")
            await until(lambda: bench.nodes() == {"i-0a": "loading"})
            await asyncio.sleep(LEASE_IDLE_S)
            assert [entry["times_delivered"] for entry in bench.pending()] == [1], "it waits here"
        reply = await bench.final(job)
    assert (reply["status"], reply["attempt"]) == ("done", 1)


async def test_nothing_is_taken_before_the_model_is_ready(bench: Bench) -> None:
    with away(bench.model):
        async with bench.watcher():
            job = bench.submit("tokens=1")
            await until(lambda: bench.nodes() == {"i-0a": "loading"})
            await asyncio.sleep(0.3)
            assert scripts.run(bench.redis, accepting.status()).depth == 1
            assert bench.reply(job) is None
            bench.model.mode = ""
            assert (await bench.final(job))["status"] == "done"
    (boot_ms,) = bench.redis.lrange(names.BOOTS, 0, -1)
    assert 0 < int(boot_ms) < 5000

"""POST /infer by the router's handler in this process, on a real queue and the AWS endpoint."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin

import pytest
from support.routes import documented, metrics, only_a_mark_is_left
from support.world import World, unsigned

from router import handler as router
from tlfif import names
from tlfif.queue import scripts, working
from tlfif.queue.conversation import of

pytestmark = pytest.mark.integration

OTHER_ORIGINS = (
    "http://localhost.evil.example",
    "https://localhost:3000",
    "http://127.0.0.1:3000",
    "null",
    "http://localhost:x",
    "http://localhost:3000/",
    "http://localhost:123456",
    "http://evil.example",
    "",
)


# --- POST /infer


@pytest.mark.story("LAM-003", "LAM-005")
async def test_a_job_is_queued_to_a_node_that_is_up(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.heartbeat()
    answer = await world.infer("Hi", Origin="http://localhost:5173")
    job = answer.body["id"]
    assert (answer.status, answer.body["status"]) == (202, "queued")
    assert "eta" not in answer.body
    documented("Accepted", answer.body)
    assert (answer.headers["X-Request-Id"], answer.headers["Location"]) == (job, f"infer/{job}")
    stored = world.queue.hgetall(names.job_key(job))
    assert (stored["prompt"], stored["sub"], stored["idle_minutes"]) == ("Hi", "ada", "5")
    assert 295 <= world.queue.ttl(names.job_key(job)) <= 300
    assert uuid.UUID(job).version == 4
    assert list(world.endpoint.calls) == [], "a warm path that asks EC2 would not be one"
    assert "Hi" not in capsys.readouterr().out, "no log has a prompt in it"


@pytest.mark.story("LAM-002", "LAM-003")
async def test_a_conversation_is_queued_as_it_was_sent(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.heartbeat()
    messages = [
        {"role": "user", "content": "My secret is 7."},
        {"role": "assistant", "content": "I see."},
        {"role": "user", "content": "What is it?"},
    ]
    answer = await world.send("POST", "/infer", {"messages": messages, "seed": 1})
    documented("Accepted", answer.body)
    [claimed] = world.claim()
    assert claimed.values is not None
    assert of(claimed.values) == messages
    assert claimed.values["options"] == '{"seed": 1}'
    assert "secret" not in capsys.readouterr().out, "no log has a conversation in it"


@pytest.mark.story("LAM-003")
@pytest.mark.parametrize(
    "base",
    [
        "https://x.execute-api.eu-west-1.amazonaws.com/v1",
        "https://api.example",
        "http://[::1]:3/a/b",
    ],
)
@pytest.mark.parametrize("path", ["/infer", "/infer/"])
async def test_the_location_holds_below_any_base(world: World, base: str, path: str) -> None:
    world.heartbeat()
    answer = await world.infer(path=path)
    found = urljoin(f"{base}{path}", answer.headers["Location"])
    assert found == f"{base}/infer/{answer.body['id']}"


@pytest.mark.story("LAM-004")
async def test_a_stopped_node_is_started_once(
    world: World, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = await asyncio.gather(*(world.infer(sub=f"user-{number}") for number in range(8)))
    assert {answer.status for answer in answers} == {202}
    assert {
        (answer.body["status"], answer.body["eta"], answer.body["estimate"]) for answer in answers
    } == {("starting", 90, 90.0)}
    documented("Accepted", answers[0].body)
    await world.state(node, "running")
    assert world.calls("StartInstances") == 1
    assert metrics(capsys.readouterr().out) == {names.METRIC_EC2_STARTS: 1}


@pytest.mark.story("LAM-004")
async def test_the_estimate_is_the_90th_percentile_of_measured_boots(
    world: World, node: str
) -> None:
    for seconds in (40, 50, 61.23):
        scripts.run(
            world.queue, working.heartbeat("i-1", "b1", "draining", 0, {}, int(seconds * 1000))
        )
    answer = await world.infer()
    assert answer.body["status"] == "starting"
    assert answer.body["estimate"] == 61.2


@pytest.mark.story("LAM-004")
async def test_a_job_for_a_node_that_is_still_stopping_is_kept(world: World, node: str) -> None:
    world.endpoint.instances.delays.stopping_s = 5
    await world.infer()
    await world.state(node, "running")
    await world.send("POST", "/stop")
    answer = await world.infer()
    assert (answer.status, answer.body["status"]) == (202, "starting")
    assert world.queue.exists(names.WAKE) == 0, "the guardian may try"
    assert world.queue.exists(names.job_key(answer.body["id"]))


@pytest.mark.story("LAM-004")
async def test_without_a_node_the_job_is_refused_and_leaves_nothing_behind(world: World) -> None:
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (503, "no_node")
    only_a_mark_is_left(world)
    assert world.queue.xlen(names.STREAM) == 0


async def test_a_latched_node_is_not_started(world: World) -> None:
    node = world.add_node(**{names.LATCH_TAG: "2026-11"})
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (402, "budget_exhausted")
    assert await world.endpoint.instances.state(node) == "stopped"
    assert world.queue.xlen(names.STREAM) == 0


async def test_a_latch_in_the_queue_refuses_at_once(world: World, node: str) -> None:
    world.queue.set(names.LATCH, '{"reason":"cap","until":"2026-12-01"}')
    answer = await world.infer()
    assert (answer.status, answer.body["error"]) == (402, "budget_exhausted")
    assert (answer.body["until"], answer.body["reason"]) == ("2026-12-01", "cap")
    assert list(world.endpoint.calls) == []


@pytest.mark.story("API-003")
async def test_the_sixth_rapid_call_is_refused_and_says_how_long_to_wait(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.heartbeat()
    answers = [await world.infer(Origin="http://localhost") for _ in range(6)]
    assert [answer.status for answer in answers] == [202] * 5 + [429]
    assert answers[5].body["error"] == "rate_limited"
    assert answers[5].headers["Retry-After"] == "1"
    assert answers[5].headers["Access-Control-Allow-Origin"] == "http://localhost"
    assert metrics(capsys.readouterr().out) == {names.METRIC_RATE_LIMIT_BREACHES: 1}
    assert (await world.infer(sub="bob")).status == 202
    await asyncio.sleep(1)
    assert (await world.infer()).status == 202


async def test_a_full_backlog_is_a_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLFIF_BACKLOG_CAP", "1")
    world.heartbeat()
    assert (await world.infer()).status == 202
    answer = await world.infer()
    assert (answer.status, answer.body["error"], answer.headers["Retry-After"]) == (
        503,
        "backlog_full",
        "30",
    )


async def test_an_idempotency_key_repeats_the_first_answer(world: World, node: str) -> None:
    first = await world.infer("Hi", **{"Idempotency-Key": "k"})
    await asyncio.sleep(1)
    again = await world.infer("Hi", **{"idempotency-key": "k"})
    assert again.status == 202
    assert (again.body, again.headers["Location"]) == (first.body, first.headers["Location"])
    assert world.queue.xlen(names.STREAM) == 1
    other = await world.infer("Another", **{"Idempotency-Key": "k"})
    assert (other.status, other.body["field"]) == (400, "Idempotency-Key")
    assert other.body["value"] == "k"
    assert (await world.infer("Hi", sub="bob", **{"Idempotency-Key": "k"})).body[
        "id"
    ] != first.body["id"]


async def test_an_idempotency_key_holds_on_a_version_with_another_default(
    world: World, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while a canary has another gpu:idleMinutes."""
    key = {"Idempotency-Key": "k"}
    first = await world.infer("Hi", **key)
    old = router.services()
    new = replace(old, settings=replace(old.settings, idle_minutes=9))
    with monkeypatch.context() as patch:
        patch.setattr(router, "services", lambda: new)
        again = await world.infer("Hi", **key)
        asked = {"prompt": "Hi", "idle_minutes": 5}
        other = await world.send("POST", "/infer", asked, **key)
    assert (again.status, again.body) == (202, first.body)
    assert (other.status, other.body["field"]) == (400, "Idempotency-Key")


async def test_an_idempotency_key_that_cannot_be_one_is_refused(world: World) -> None:
    for key in ("", " ", "a b", "é", "x" * 129):
        answer = await world.infer(**{"Idempotency-Key": key})
        assert (answer.status, answer.body["field"]) == (400, "Idempotency-Key"), key


@pytest.mark.story("LAM-002")
async def test_a_bad_body_is_a_400_that_names_the_field(world: World) -> None:
    refused: list[tuple[Any, str]] = [
        ({}, "prompt"),
        ({"prompt": "é" * 3001}, "prompt"),
        ({"prompt": "x", "idle_minutes": 31}, "idle_minutes"),
        ({"prompt": "x", "n": 1}, "n"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ("{", "body"),
        ("null", "body"),
        (None, "body"),
    ]
    for body, field in refused:
        answer = await world.send("POST", "/infer", body)
        assert (answer.status, answer.body["field"]) == (400, field)
        documented("Error", answer.body)
    assert world.queue.dbsize() == 0


# --- who is asking


@pytest.mark.story("LAM-002")
async def test_the_router_itself_refuses_who_has_no_good_token(world: World) -> None:
    for token in ("garbage", world.pool.token("ada", exp=1), unsigned({"sub": "ada"}), "Bearer"):
        answer = await world.infer(token=token)
        assert (answer.status, answer.body["error"]) == (401, "unauthorized")
        documented("Error", answer.body)
    assert world.queue.dbsize() == 0
    assert (await world.infer(token=f"Bearer {world.pool.token('ada')}")).status != 401


@pytest.mark.story("API-002")
async def test_the_authorizer_allows_every_method_or_denies_every_one(world: World) -> None:
    allowed = await world.authorize(world.pool.token("ada"))
    assert allowed["context"] == {"sub": "ada", "username": "ada"}
    judged = {
        world.pool.token("ada"): "Allow",
        "garbage": "Deny",
        world.pool.token("ada", exp=1): "Deny",
    }
    for token, effect in judged.items():
        [statement] = (await world.authorize(token))["policyDocument"]["Statement"]
        assert (statement["Effect"], statement["Resource"].split("/", 1)[1]) == (effect, "v1/*/*")


@pytest.mark.story("API-002")
async def test_when_the_keys_cannot_be_had_nobody_is_let_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLFIF_JWKS_URL", "http://127.0.0.1:1/jwks.json")
    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        await world.authorize(world.pool.token("ada"))
    answer = await world.infer()
    assert (answer.status, answer.body["error"], answer.headers["Retry-After"]) == (
        503,
        "authorizer_unavailable",
        "5",
    )


async def test_two_users_see_nothing_of_each_other(world: World) -> None:
    world.heartbeat()
    job = (await world.infer(sub="ada")).body["id"]
    eve = await world.send("DELETE", "/infer/{id}", sub="eve", job=job)
    assert eve.status == 404
    assert world.queue.exists(names.job_key(job))
    ada = await world.send("DELETE", "/infer/{id}", sub="ada", job=job)
    assert (ada.status, ada.body) == (200, {"status": "cancelled", "id": job})
    assert (await world.send("DELETE", "/infer/{id}", sub="eve", job=job)).status == 404


@pytest.mark.story("API-003")
async def test_an_origin_of_this_machine_is_echoed_and_no_other(world: World) -> None:
    world.heartbeat()
    for origin in ("http://localhost", "http://localhost:3000", "http://localhost:65535"):
        for answer in (
            await world.infer(origin=origin),
            await world.infer(origin=origin, token="garbage"),
        ):
            assert answer.headers["Access-Control-Allow-Origin"] == origin
            assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]
    for origin in OTHER_ORIGINS:
        answer = await world.infer(sub="bob", Origin=origin)
        assert [name for name in answer.headers if name.startswith("Access-Control")] == [], origin
        assert answer.headers["Vary"] == "Origin"


async def test_an_unknown_route_is_a_404(world: World) -> None:
    assert (await world.send("PUT", "/infer")).status == 404

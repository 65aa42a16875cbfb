"""The small functions around the queue and the gateway: health, probe and payload samples, on real
servers.
"""

import asyncio
import json
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from support.jobs import new_job
from support.routes import documented
from support.world import Outage, World, full, hung, read_only, refused, slow_link

from payload_samples import handler as payload_samples
from ping_probe import handler as ping_probe
from queue_health import handler as queue_health
from router.samples import Sampler
from tlfif import names
from tlfif.queue import accepting, scripts, working

pytestmark = pytest.mark.integration

Answers = dict[str, tuple[int, str]]


@pytest.fixture
def health(world: World) -> Iterator[Callable[[], Any]]:
    """Calls the function; its connection is made anew for each test."""

    def call() -> tuple[int, dict[str, Any]]:
        answer = queue_health.handler(
            {"headers": {}}, SimpleNamespace(aws_request_id=str(uuid.uuid4()))
        )
        return answer["statusCode"], json.loads(answer["body"])

    queue_health.services.cache_clear()
    yield call
    queue_health.services()[1].close()
    queue_health.services.cache_clear()


def emitted(output: str, metric: str) -> list[float]:
    return [json.loads(line)[metric] for line in output.splitlines() if f'"{metric}":' in line]


@pytest.mark.story("RED-004")
async def test_a_queue_that_is_well_says_how_fast_it_is(
    health: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    status, body = await asyncio.to_thread(health)
    assert (status, body["redis"]) == (200, "ok")
    assert 0 < body["latencyMs"] < 200
    assert emitted(capsys.readouterr().out, names.METRIC_QUEUE_HEALTHY) == [1]


@pytest.mark.story("RED-004")
@pytest.mark.parametrize("outage", [hung, refused])
async def test_a_queue_that_does_not_answer_is_a_503(
    world: World, outage: Outage, health: Callable[[], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    async with outage(world):
        status, body = await asyncio.to_thread(health)
    assert (status, body["error"]) == (503, "queue_unavailable")
    assert emitted(capsys.readouterr().out, names.METRIC_QUEUE_HEALTHY) == [0]


@pytest.mark.story("RED-004")
async def test_a_queue_slower_than_200_ms_is_a_503(
    world: World, health: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for delay_s, expected in ((0.1, 200), (0.21, 503)):
        async with slow_link(world.valkey.port, delay_s) as port:
            monkeypatch.setenv("TLFIF_REDIS_PORT", str(port))
            queue_health.services.cache_clear()
            status, body = await asyncio.to_thread(health)
            queue_health.services()[1].close()
        assert status == expected, body


@asynccontextmanager
async def nearly_full(world: World) -> AsyncIterator[None]:
    used = world.queue.info("memory")["used_memory"]
    world.queue.config_set("maxmemory", int(used / 0.75))
    yield
    world.queue.config_set("maxmemory", 0)


@asynccontextmanager
async def a_job_nobody_reads(world: World) -> AsyncIterator[None]:
    world.queue.xadd(names.STREAM, {"id": "1", "reply_key": "r"}, id=f"{long_ago()}-1")
    scripts.run(world.queue, working.create_group())
    yield


@asynccontextmanager
async def a_job_behind_one_that_runs(world: World) -> AsyncIterator[None]:
    world.queue.xadd(names.STREAM, {"id": "1", "reply_key": "r"}, id=f"{long_ago()}-1")
    world.claim()
    world.queue.xadd(names.STREAM, {"id": "2", "reply_key": "r"}, id=f"{long_ago()}-2")
    yield


@asynccontextmanager
async def a_worker_that_fell_silent(world: World) -> AsyncIterator[None]:
    for _ in range(2):
        await world.infer()
    _, silent = world.claim()
    world.queue.execute_command(
        "XCLAIM", names.STREAM, names.GROUP, "i-1:b1", 0, silent.entry, "IDLE", 250_000, "JUSTID"
    )
    yield


@asynccontextmanager
async def no_guardian(world: World) -> AsyncIterator[None]:
    await world.guard()
    world.queue.hset(names.RUNS, names.GUARDIAN, long_ago())
    yield


def long_ago() -> int:
    return int(time.time() * 1000) - 250_000


@pytest.mark.story("RED-004")
@pytest.mark.parametrize(
    ("stall", "says"),
    [
        (full, "takes no writes (OOM"),
        (read_only, "takes no writes (READONLY"),
        (nearly_full, "% full"),
        (a_job_nobody_reads, "a job waits for 25"),
        (a_job_behind_one_that_runs, "a job waits for 25"),
        (a_worker_that_fell_silent, "a job waits for 25"),
        (no_guardian, "the guardian has done nothing for 25"),
    ],
)
async def test_a_queue_that_answers_a_ping_and_stalls_is_a_503_that_says_why(
    world: World,
    node: str,
    stall: Outage,
    says: str,
    health: Callable[[], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, body = await asyncio.to_thread(health)
    assert status == 200, body
    documented("QueueHealth", body)
    async with stall(world):
        status, body = await asyncio.to_thread(health)
    assert (status, body["error"]) == (503, "queue_unhealthy")
    assert says in body["message"]
    assert body["message"].count(";") == (stall is full), "and nothing else"
    assert emitted(capsys.readouterr().out, names.METRIC_QUEUE_HEALTHY) == [1, 0]


@pytest.mark.story("RED-004")
async def test_work_is_no_stall(world: World, node: str, health: Callable[[], Any]) -> None:
    """Jobs that wait for a boot, jobs that run for long, a guardian a minute ago."""
    world.queue.xadd(names.STREAM, {"id": "1", "reply_key": "r"}, id=f"{long_ago()}-1")
    world.claim()
    await world.infer()
    await world.guard()
    status, body = await asyncio.to_thread(health)
    assert status == 200, body
    assert 0 <= body["unservedSeconds"] < 5
    assert 0 <= body["guardianSeconds"] < 5
    assert 0 < world.queue.ttl(names.HEALTH_PROBE) <= 60


@pytest_asyncio.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Answers]:
    """A server on the IPv6 loopback that answers what it is told, and one on IPv4 that must not be
    asked.
    """
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    answers: Answers = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        status, body = answers[request.split()[1].decode()]
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n"
            f"Connection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("TLFIF_API_URL", f"http://[::1]:{port}/v1")
    monkeypatch.setenv("TLFIF_STACK", "dev")
    yield answers
    server.close()
    await server.wait_closed()


@pytest.mark.story("API-005")
@pytest.mark.parametrize(
    ("ping", "health", "verdict"),
    [
        ((200, '{"status":"ok"}'), (200, '{"redis":"ok","latencyMs":1}'), (True, True)),
        ((200, '{"status":"ok"}'), (503, '{"error":"queue_unavailable"}'), (True, False)),
        ((403, '{"error":"forbidden"}'), (200, '{"redis":"ok"}'), (False, True)),
        ((200, "ok"), (200, "null"), (False, False)),
        ((200, '{"status":"down"}'), (200, "{}"), (False, False)),
    ],
)
async def test_the_probe_judges_status_and_body(
    api: Answers, ping: Any, health: Any, verdict: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    api.update({"/v1/ping": ping, "/v1/queue-health": health})
    answer = await asyncio.to_thread(ping_probe.handler, {}, None)
    assert (answer["ping"], answer["queue-health"]) == verdict
    output = capsys.readouterr().out
    assert emitted(output, names.METRIC_PING_SUCCESS) == [int(verdict[0])]
    assert emitted(output, names.METRIC_PING_LATENCY_MS)[0] > 0


@pytest.mark.story("API-005")
@pytest.mark.parametrize(
    "url", ["http://localhost:1/v1", "http://127.0.0.1:1/v1", "https://localhost:1/v1"]
)
def test_an_api_that_cannot_be_reached_over_ipv6_is_not_well(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLFIF_API_URL", url)
    monkeypatch.setenv("TLFIF_STACK", "dev")
    assert ping_probe.handler({}, None) == {"ping": False, "queue-health": False}


@pytest.mark.story("LAM-005")
@pytest.mark.parametrize(
    ("asked", "messages"),
    [
        ({"prompt": "My secret"}, 0),
        ({"messages": [{"role": "user", "content": text} for text in ("My s", "ecret")]}, 2),
    ],
    ids=["prompt", "conversation"],
)
async def test_payloads_are_sampled_without_their_text_for_a_day_after_a_deployment(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: dict[str, Any],
    messages: int,
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_VERSION", "7")
    payload_samples.client.cache_clear()
    scripts.run(world.queue, working.heartbeat("i-1", "b1", "ready", 0, {}))
    job = (await world.send("POST", "/infer", {**asked, "max_tokens": 5})).body["id"]
    await world.infer("Another")
    capsys.readouterr()
    payload_samples.handler({}, None)
    payload_samples.handler({}, None)
    payload_samples.client().close()
    [line] = capsys.readouterr().out.splitlines()
    sample = json.loads(line)
    assert "ecret" not in line
    assert sample["messages"] == messages
    assert (sample["event"], sample["jobId"], sample["version"]) == ("payload sample", job, 7)
    assert (sample["promptBytes"], sample["options"], len(sample["promptHash"])) == (
        9,
        {"max_tokens": 5},
        16,
    )


@pytest.mark.story("LAM-005")
def test_samples_tell_conversations_apart_as_they_do_prompts() -> None:
    sampler = Sampler()
    said = [{"role": "user", "content": text} for text in ("a", "b")]
    asked = [{"messages": said}, {"messages": said}, {"messages": said[::-1]}, {"prompt": "ab"}]
    hashes = [sampler._redacted(new_job(**each), "queued")["promptHash"] for each in asked]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


@pytest.mark.story("LAM-005")
def test_sampling_ends_after_a_day_and_only_a_newer_version_begins_again(world: World) -> None:
    def sample(version: int) -> bool:
        return scripts.run(world.queue, accepting.sample(version, {"n": version}))

    assert sample(7)
    world.queue.hincrby(names.SAMPLING, "since", -names.SAMPLING_S * 1000)
    assert not sample(7)
    assert not sample(6), "a rollback"
    assert sample(8)
    for _ in range(names.SAMPLES_BOUND + 5):
        sample(8)
    assert len(scripts.run(world.queue, accepting.collect_samples())) == names.SAMPLES_BOUND
    assert world.queue.keys("payload:*") == [names.SAMPLING]

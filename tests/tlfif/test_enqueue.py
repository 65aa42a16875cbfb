"""POST /infer against fakeredis: the story's own test (LAM-003); everything else runs on a real
Valkey.
"""

import json
import time
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
import redis
from support.forgeries import Pool, private_key

from router import handler
from router.routes import Services
from tlfif import names, tokens
from tlfif.environment import Router

POOL = Pool(
    private_key(), "k1", "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_pool", "client-1"
)
SETTINGS = Router(
    redis_host="fake",
    redis_port=6379,
    stack="dev",
    replies_bucket="replies",
    gpu_count=1,
    gpu_slots=32,
    user_pool_id="us-east-1_pool",
    client_id=POOL.client_id,
    backlog_cap=500,
    idle_minutes=5,
    cap_eur=20.0,
)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> fakeredis.FakeRedis:
    """A fake server behind the router; its node is up, so that nothing has to be woken."""
    client = fakeredis.FakeRedis(decode_responses=True)
    client.zadd(names.NODES, {"i-1": 1})
    client.hset(names.node_key("i-1"), "phase", "ready")
    keys = tokens.KeySet("https://keys", lambda url: {"keys": [POOL.jwk]})
    verifier = tokens.Verifier(POOL.issuer, POOL.client_id, keys)
    services = Services(SETTINGS, client, verifier)
    monkeypatch.setattr(handler, "services", lambda: services)
    return client


def post(body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": POOL.token()}
    event = {
        "httpMethod": "POST",
        "resource": "/infer",
        "headers": headers,
        "body": json.dumps(body),
    }
    return handler.handler(event, SimpleNamespace(aws_request_id="r-1"))


@pytest.mark.story("LAM-003")
def test_a_job_is_written_with_a_ttl_of_about_300_seconds(queue: fakeredis.FakeRedis) -> None:
    answer = post({"prompt": "Hello", "idle_minutes": 7})
    job = json.loads(answer["body"])["id"]
    assert (answer["statusCode"], answer["headers"]["X-Request-Id"]) == (202, job)
    assert 295 <= queue.ttl(names.job_key(job)) <= 305
    stored = queue.hgetall(names.job_key(job))
    assert (stored["prompt"], stored["idle_minutes"]) == ("Hello", "7")
    assert stored["reply_key"].endswith(f"/{job}.json")
    assert abs(int(stored["created_at"]) / 1000 - time.time()) < 5


@pytest.mark.story("LAM-003")
def test_a_redis_error_is_a_503_and_logs_redis_enqueue_fail(
    queue: fakeredis.FakeRedis, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object) -> None:
        raise redis.ConnectionError("refused")

    monkeypatch.setattr(queue, "evalsha", fail)
    answer = post({"prompt": "Hello"})
    assert (answer["statusCode"], json.loads(answer["body"])["error"]) == (503, "queue_unavailable")
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)[names.METRIC_REDIS_ENQUEUE_FAIL] == 1
    assert queue.keys("job:*") == []

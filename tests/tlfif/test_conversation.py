"""A conversation in the queue: what a job carries, and what workers of before make of it
(LAM-003).
"""

from dataclasses import replace
from typing import Any

import pytest
import redis
from support.jobs import LANE, UNLIMITED, accept, new_job, read, refuse

from tlfif import names
from tlfif.queue.conversation import Message, dump, of, reading, size, transcript

ADA: list[Message] = [
    {"role": "user", "content": "I am Ada."},
    {"role": "assistant", "content": "Hello Ada."},
    {"role": "user", "content": "Who am I?"},
]
# cache.t4g.micro, in bytes.
SMALLEST_QUEUE = 0.5 * 2**30
BRIEF: Message = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        (ADA[-1:], "Who am I?"),
        ([BRIEF, *ADA[-1:]], "Be brief.\n\nWho am I?"),
        ([BRIEF, *ADA], "Be brief.\n\nUser: I am Ada.\n\nAssistant: Hello Ada.\n\nUser: Who am I?"),
    ],
)
def test_as_one_text_it_says_who_said_what(messages: list[Message], text: str) -> None:
    assert transcript(messages) == text


def test_its_size_is_that_of_what_was_said() -> None:
    assert size([{"role": "user", "content": "é"}, {"role": "assistant", "content": "ab"}]) == 4


def test_each_message_after_the_first_is_more_to_read() -> None:
    assert reading(ADA[:1]) == size(ADA[:1]), "as a prompt is"
    brief: Message = {"role": "user", "content": "x"}
    assert reading([brief] * 99) == 99 + 98 * 24


@pytest.mark.story("LAM-003")
@pytest.mark.integration
@pytest.mark.parametrize("said", ['"quoted" \\ and\nmore', "\0 \x1f \u2028 na\u00efve \U0001f999"])
def test_a_job_carries_it_as_it_was_said(client: "redis.Redis", said: str) -> None:
    messages: list[Message] = [*ADA, {"role": "user", "content": said}]
    accept(client, new_job(messages=messages))
    [claimed] = read(client)
    assert claimed.values is not None
    assert of(claimed.values) == messages
    assert claimed.values["messages"] == dump(messages)


@pytest.mark.story("LAM-003")
@pytest.mark.integration
def test_a_worker_that_knows_prompts_only_is_told_it_as_one(client: "redis.Redis") -> None:
    """The image of a node may be older than the router that accepts its jobs."""
    accept(client, new_job(messages=[BRIEF, *ADA]))
    [claimed] = read(client)
    assert claimed.values is not None
    assert claimed.values["prompt"] == transcript([BRIEF, *ADA])


@pytest.mark.story("LAM-003")
@pytest.mark.integration
def test_a_job_of_a_router_that_knows_prompts_only_is_one_message(client: "redis.Redis") -> None:
    accept(client, new_job(prompt="Hello"))
    [claimed] = read(client)
    assert claimed.values is not None
    assert "messages" not in claimed.values
    assert of(claimed.values) == [{"role": "user", "content": "Hello"}]


@pytest.mark.integration
def test_an_idempotency_key_is_for_one_conversation(client: "redis.Redis") -> None:
    job = new_job(messages=ADA, idempotency_key="k")
    first = accept(client, job)
    assert accept(client, replace(job, id=new_job().id)).id == first.id
    others: list[dict[str, Any]] = [
        {"messages": ADA[:1]},
        {"messages": [*ADA[:2], {**ADA[2], "role": "assistant"}]},
        {"messages": ADA, "options": {"seed": 1}},
        {"prompt": transcript(ADA)},
    ]
    for other in others:
        assert refuse(client, new_job(idempotency_key="k", **other)).why == "conflict"


@pytest.mark.story("LAM-004")
@pytest.mark.integration
def test_the_lane_is_asked_by_how_much_there_is_to_read(client: "redis.Redis") -> None:
    """Its roles, which the text for older workers spells out, are not counted; what the template
    adds to each message is.
    """
    suits = []
    for spare in (0, 1):
        lane = replace(LANE, prompt_bytes=size(ADA) + 2 * 24 - spare)
        job = new_job(messages=ADA)
        accept(client, job, replace(UNLIMITED, lane=lane))
        suits.append(client.hget(names.job_key(job.id), "lane"))
    assert suits == ["1", "0"]


@pytest.mark.integration
def test_a_backlog_of_the_longest_conversations_fits_into_the_smallest_queue(
    client: "redis.Redis",
) -> None:
    """Each has its text twice, and JSON writes a control character in six bytes."""
    content = "\x01" * (names.MAX_PROMPT_BYTES // names.MAX_MESSAGES)
    job = new_job(messages=[{"role": "assistant", "content": content}] * names.MAX_MESSAGES)
    accept(client, job)
    used: Any = client.memory_usage(names.job_key(job.id))
    assert names.BACKLOG_PER_NODE * used < 0.1 * SMALLEST_QUEUE

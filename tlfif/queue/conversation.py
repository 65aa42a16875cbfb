"""A conversation as a job carries it: the router writes it, a worker reads it."""

import json
from collections.abc import Mapping, Sequence
from typing import TypedDict

# What a model's chat template adds to a message, in bytes of text of as many tokens.
TEMPLATE_BYTES = 24


class Message(TypedDict):
    """One message of a conversation, as an engine takes it; `role` is system, user or assistant."""

    role: str
    content: str


def size(messages: Sequence[Message]) -> int:
    """How many bytes its contents have together, in UTF-8."""
    return sum(len(each["content"].encode()) for each in messages)


def reading(messages: Sequence[Message]) -> int:
    """How much there is to read, in bytes of a prompt that takes as long: each message but the
    first brings the words of the template along.
    """
    return size(messages) + TEMPLATE_BYTES * (len(messages) - 1)


def dump(messages: Sequence[Message]) -> str:
    """The text that a job's hash has as `messages`."""
    return json.dumps(messages, ensure_ascii=False, separators=(",", ":"))


def of(job: Mapping[str, str]) -> list[Message]:
    """What the engine is to answer, of a job's hash; a prompt is one message of the user's."""
    if "messages" in job:
        return json.loads(job["messages"])
    return [Message(role="user", content=job["prompt"])]


def transcript(messages: Sequence[Message]) -> str:
    """The conversation as one text.

    A job has it as its `prompt`, for workers of before there were conversations: the image of a
    node may be older than the router.
    """
    system = [each["content"] for each in messages if each["role"] == "system"]
    turns = [each for each in messages if each["role"] != "system"]
    if len(turns) == 1:
        return "\n\n".join([*system, turns[0]["content"]])
    told = [f"{each['role'].capitalize()}: {each['content']}" for each in turns]
    return "\n\n".join([*system, *told])

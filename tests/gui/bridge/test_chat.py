"""What clients send, and what becomes of it: granted, ignored, or refused by name."""

import json
from typing import Any

import pytest

from gui.bridge.errors import OpenAIError
from gui.bridge.protocol.chat import parsed

USER = {"role": "user", "content": "Hello"}


def body_of(**fields: Any) -> dict[str, Any]:
    return parsed(json.dumps({"model": "m", "messages": [USER], **fields}).encode(), "m").body


def refused(**fields: Any) -> dict[str, Any]:
    with pytest.raises(OpenAIError) as caught:
        body_of(**fields)
    assert caught.value.status in (400, 404)
    return caught.value.body()["error"]


def messages_of(*messages: dict[str, Any]) -> list[dict[str, str]]:
    return body_of(messages=list(messages))["messages"]


# --- messages


def test_a_conversation_is_one() -> None:
    said = {"role": "assistant", "content": "Hi"}
    system = {"role": "system", "content": "Be brief."}
    assert messages_of(system, USER, said, USER) == [system, USER, said, USER]


def test_system_messages_are_merged_at_the_front_and_developers_are_among_them() -> None:
    told = messages_of(
        {"role": "developer", "content": "Be brief."}, USER, {"role": "system", "content": "Rhyme."}
    )
    assert told == [{"role": "system", "content": "Be brief.\n\nRhyme."}, USER]


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "Read:"}, {"type": "text", "text": "a book"}]
    assert messages_of({"role": "user", "content": parts})[0]["content"] == "Read:\na book"


def test_what_is_blank_is_left_out_and_what_names_somebody_is_taken_without_the_name() -> None:
    placeholder = {"role": "assistant", "content": "", "tool_calls": [], "refusal": None}
    named = {**USER, "name": "Ada"}
    assert messages_of({"role": "system", "content": " "}, named, placeholder) == [USER]
    again = {"role": "assistant", "content": None, "refusal": "I will not."}
    assert messages_of(USER, again, USER)[1]["content"] == "I will not."


@pytest.mark.parametrize(
    ("messages", "param", "says"),
    [
        (None, "messages", "no list"),
        ([], "messages", "an empty one"),
        ("Hello", "messages", "no list"),
        (["Hello"], "messages.0", "no object"),
        ([{"content": "Hello"}], "messages.0.role", "none of system"),
        ([{"role": ["user"], "content": "Hello"}], "messages.0.role", "none of system"),
        ([USER, {"role": "tool", "content": "42"}], "messages.1.role", "calls no tools"),
        ([{**USER, "content": 5}], "messages.0.content", "no text"),
        ([{**USER, "content": "\ud83d"}], "messages.0.content", "surrogate"),
        ([{**USER, "content": ["Hello"]}], "messages.0.content.0", "no part"),
        ([{**USER, "content": [{"type": "text"}]}], "messages.0.content.0.text", "no text"),
        ([{**USER, "content": [{"type": "image_url"}]}], "messages.0.content.0.type", "no images"),
        ([{**USER, "content": " \n"}], "messages", "no text of a user's"),
        ([USER, {**USER, "content": ""}], "messages.1.content", "blank"),
        ([USER, {"role": "assistant", "content": "Sure:"}], "messages.1.role", "end with a user"),
        (
            [USER, {"role": "assistant", "content": None, "tool_calls": [{}]}, USER],
            "messages.1.tool_calls",
            "calls no tools",
        ),
    ],
)
def test_messages_that_the_model_cannot_read_are_refused_by_place(
    messages: Any, param: str, says: str
) -> None:
    error = refused(messages=messages)
    assert error["param"] == param
    assert says in error["message"]


def test_a_conversation_that_is_too_long_has_the_code_by_which_clients_cut_it() -> None:
    said = {"role": "assistant", "content": "ä" * 2900}
    assert len(messages_of(USER, said, {**USER, "content": "x" * 195})) == 3
    error = refused(messages=[USER, said, {**USER, "content": "x" * 196}])
    assert error["code"] == "context_length_exceeded"
    assert "6001 bytes" in error["message"]
    assert refused(messages=[USER] * 101)["code"] == "context_length_exceeded"


# --- options


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, {}),
        ({"temperature": None, "top_p": None, "max_tokens": None, "seed": None, "n": None}, {}),
        ({"temperature": 0, "top_p": 0, "max_tokens": 5}, {"temperature": 0.0, "top_p": 0.01}),
        ({"max_tokens": 4096}, {"max_tokens": 1024}),
        ({"max_tokens": 10, "max_completion_tokens": 20}, {"max_tokens": 20}),
        ({"seed": 2**31 + 7}, {"seed": 7}),
        ({"seed": -1}, {"seed": 2**31 - 1}),
        ({"idle_minutes": 3}, {"idle_minutes": 3}),
        ({"n": 1, "logprobs": False, "tools": [], "logit_bias": {}, "presence_penalty": 0.0}, {}),
        ({"response_format": {"type": "text"}, "user": "ada", "store": True, "top_k": 5}, {}),
        ({"tools": [{"type": "function"}], "tool_choice": "none"}, {}),
        ({"stream_options": None, "stop": None, "stream": None, "metadata": {"a": 1}}, {}),
    ],
)
def test_what_can_be_had_is_asked_for_and_what_wishes_for_nothing_is_ignored(
    fields: dict[str, Any], options: dict[str, Any]
) -> None:
    asked = body_of(**fields)
    assert {name: asked[name] for name in options} == options
    assert set(asked) - {"messages", "max_tokens"} == set(options) - {"max_tokens"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("frequency_penalty", 0.5),
        ("logit_bias", {"50256": -100}),
        ("response_format", {"type": "json_object"}),
        ("tools", [{"type": "function"}]),
        ("functions", [{}]),
        ("modalities", ["text", "audio"]),
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("max_completion_tokens", "10"),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", 10**400),
        ("temperature", "hot"),
        ("top_p", -0.1),
        ("seed", "7"),
        ("stream", "yes"),
        ("stream_options", [1]),
        ("stop", 5),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", [None]),
        ("model", "gpt-4o"),
        ("model", 5),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(field: str, value: Any) -> None:
    error = refused(**{field: value})
    assert error["param"] == field
    assert field in error["message"] or field == "model"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff\xfe{", b"[" * 100_000, b"null"])
def test_what_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(OpenAIError, match="JSON"):
        parsed(raw, "m")


def test_how_the_answer_is_wanted() -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}, "stop": "END"}
    raw = json.dumps({"messages": [USER], **asked}).encode()
    chat = parsed(raw, "m")
    assert (chat.stream, chat.include_usage, chat.stops) == (True, True, ["END"])

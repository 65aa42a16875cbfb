"""What POST /infer accepts and how it refuses (LAM-002)."""

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import body as requests
from tlfif import names
from tlfif.proxy import Problem

NUMBERS = ("idle_minutes", "max_tokens", "temperature", "top_p", "seed")


def event(body: Any) -> dict[str, Any]:
    return {
        "body": body if isinstance(body, str) or body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


USER, ASSISTANT, SYSTEM = (
    {"role": role, "content": "Hi"} for role in ("user", "assistant", "system")
)
WHOLE = "whole number from"
ARRAY = "an array of 1 to 100 messages"


def said(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


BAD_BODIES = [
    (None, "body", "is not JSON"),
    ("{", "body", "is not JSON from line 1, column 2"),
    ("[" * 100_000, "body", "is not JSON"),
    ("[]", "body", "must be a JSON object"),
    ({}, "prompt", "is missing; send prompt or messages"),
    ({"prompt": None}, "prompt", "is null; send text, or leave it out"),
    ({"prompt": 5}, "prompt", "must be text"),
    ({"prompt": ""}, "prompt", "is blank"),
    ({"prompt": " \n"}, "prompt", "is blank"),
    ({"prompt": "x" * 7000}, "prompt", "7000 bytes long in UTF-8; send at most 6000"),
    ({"prompt": "é" * 3001}, "prompt", "6002 bytes"),
    ('{"prompt": "\\ud800"}', "prompt", "surrogate pair"),
    ('{"prompt": "x", "\\ud800": 1}', "\\ud800", "is not a field"),
    ({"prompt": "x", "idle_minutes": 0}, "idle_minutes", f"{WHOLE} 1 to 30"),
    ({"prompt": "x", "idle_minutes": 31}, "idle_minutes", f"{WHOLE} 1 to 30"),
    ({"prompt": "x", "idle_minutes": "5"}, "idle_minutes", f"{WHOLE} 1 to 30"),
    ({"prompt": "x", "idle_minutes": True}, "idle_minutes", f"{WHOLE} 1 to 30"),
    ({"prompt": "x", "max_tokens": 0}, "max_tokens", f"{WHOLE} 1 to 1024"),
    ({"prompt": "x", "max_tokens": 10**30}, "max_tokens", f"{WHOLE} 1 to 1024"),
    *(
        (f'{{"prompt": "x", "seed": {bad}}}', "seed", f"{WHOLE} 0 to 2147483647")
        for bad in ("1.5", "-1.0", "3e9", "1e300", "1e999", "NaN", "true", '"1"')
    ),
    ('{"prompt": "x", "seed": ' + "9" * 5000 + "}", "body", "too long a number"),
    ('{"prompt": "x", "temperature": NaN}', "temperature", "a number from 0 to 2"),
    ('{"prompt": "x", "temperature": 1e999}', "temperature", "a number from 0 to 2"),
    ({"prompt": "x", "top_p": 0}, "top_p", "a number from 0.01 to 1"),
    *(({"prompt": "x", name: None}, name, ", or leave it out") for name in NUMBERS),
    ({"prompt": "x", "model": "gpt"}, "model", "use prompt, messages, idle_minutes"),
]
BAD_CONVERSATIONS = [
    ({"prompt": "x", "messages": [USER]}, "messages", "cannot be sent beside prompt"),
    ({"prompt": None, "messages": [USER]}, "prompt", "leave it out"),
    *(({"messages": bad}, "messages", ARRAY) for bad in (None, [], "x", 5, {"0": USER}, True)),
    ({"messages": [USER] * 101}, "messages", ARRAY),
    ({"messages": [5] * 300_000}, "messages", ARRAY),
    ({"messages": [USER] * 100 + [dict.fromkeys("abc", 1)]}, "messages", ARRAY),
    *(({"messages": [USER, bad]}, "messages.1", "an object such as") for bad in (None, 5, "x", [])),
    ({"messages": [{}]}, "messages.0.role", "is missing; send system, user or assistant"),
    ({"messages": [{"role": "user"}]}, "messages.0.content", "is missing; send text"),
    *(
        ({"messages": [{**USER, "role": bad}]}, "messages.0.role", "system, user or assistant")
        for bad in ("tool", "User", "", None, 5, ["user"], True)
    ),
    *((said(bad), "messages.0.content", "text") for bad in (None, 5, [], {}, True, "", " \t")),
    (said([{"type": "text", "text": "Hi"}]), "messages.0.content", "must be text"),
    (
        '{"messages": [{"role": "user", "content": "\\udfff"}]}',
        "messages.0.content",
        "surrogate pair",
    ),
    ({"messages": [USER, {**USER, "name": "Ada"}]}, "messages.1.name", "use role, content"),
    ({"messages": [USER, SYSTEM, USER]}, "messages.1.role", "only the first message may be"),
    ({"messages": [SYSTEM, SYSTEM, USER]}, "messages.1.role", "only the first message may be"),
    ({"messages": [USER, ASSISTANT]}, "messages.1.role", "the last message must be the user's"),
    ({"messages": [SYSTEM]}, "messages.0.role", "the last message must be the user's"),
    (said("é" * 3001), "messages", "6002 bytes in UTF-8 together; send at most 6000"),
    ({"messages": [{**USER, "content": "x" * 61}] * 100}, "messages", "6100 bytes"),
]


@pytest.mark.story("LAM-002")
@pytest.mark.parametrize(("body", "field", "says"), BAD_BODIES + BAD_CONVERSATIONS)
def test_a_bad_body_is_refused_naming_field_value_and_fix(body: Any, field: str, says: str) -> None:
    with pytest.raises(Problem) as refusal:
        requests.parse(event(body))
    assert refusal.value.status == 400
    assert refusal.value.details["field"] == field
    assert says in refusal.value.message
    assert refusal.value.message.startswith(f"{field} ")
    assert len(str(refusal.value.details["value"])) <= requests.MAX_SHOWN + 1
    json.dumps(refusal.value.details).encode()


@pytest.mark.story("LAM-002")
def test_the_name_of_an_unknown_field_is_shown_by_its_beginning() -> None:
    with pytest.raises(Problem) as refusal:
        requests.parse(event({"prompt": "x", "k" * 1_000_000: 1}))
    assert refusal.value.details["field"] == "k" * requests.MAX_SHOWN + "…"
    assert len(refusal.value.message) < 300
    assert "use prompt, messages, idle_minutes" in refusal.value.message


@pytest.mark.story("LAM-002")
@pytest.mark.parametrize(
    "prompt", ["x" * names.MAX_PROMPT_BYTES, "é" * 3000, "\0 is a character", "1"]
)
def test_prompts_up_to_six_thousand_bytes_are_accepted(prompt: str) -> None:
    assert requests.parse(event({"prompt": prompt})).prompt == prompt


@pytest.mark.story("LAM-002")
@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [SYSTEM, USER],
        [ASSISTANT, USER],
        [USER, USER],
        [USER, ASSISTANT, USER],
        [{**USER, "content": "x" * 60}] * 100,
        [SYSTEM, {**USER, "content": "é" * 2999}],
    ],
)
def test_a_conversation_of_up_to_six_thousand_bytes_is_accepted(messages: Any) -> None:
    request = requests.parse(event({"messages": messages, "seed": 4}))
    assert (request.prompt, request.conversation()) == (None, messages)
    assert request.options() == {"seed": 4}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"x": 1}, "is not a field"),
        ({"messages": [{**USER, "x": 1}]}, "is not a field"),
        ({"messages": [USER] * 99 + [{**USER, "x": 1}]}, "is not a field"),
        ({"messages": [USER] * 100 + [{**USER, "x": 1}]}, ARRAY),
    ],
)
def test_what_is_no_field_is_refused_before_the_model_collects_a_million(
    body: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests.InferRequest, "model_validate", None)
    with pytest.raises(Problem, match=why):
        requests.parse(event(body))


# What Python calls things, and pydantic; JSON has none of them.
PYTHONS_WORDS = re.compile(
    r"\b(valid|input|str|string|int|integer|float|bool|boolean|dict|dictionary|list|tuple|None|"
    r"NoneType|instance|class|literal|type|parse|unable|finite|extra|forbidden|permitted|value|"
    r"error|exception|recursion|codec|encode|decode|sys|pydantic|python|model|length|items?)\b",
    re.IGNORECASE,
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
# Names of no letters, so that no word of a refusal is the caller's.
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("0_\ud800é", max_size=3), inner)
    ),
    max_leaves=5,
)
MESSAGE = st.fixed_dictionaries(
    {}, optional={"role": ANYTHING | st.sampled_from(["system", "user"]), "content": ANYTHING}
)
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "prompt": ANYTHING,
        "messages": ANYTHING | st.lists(ANYTHING | MESSAGE, max_size=4),
        "0": ANYTHING,
        **dict.fromkeys(NUMBERS, ANYTHING),
    },
)


@pytest.mark.story("LAM-002")
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(body=REQUEST.map(json.dumps) | ANYTHING.map(json.dumps) | st.text(max_size=20))
def test_a_refusal_never_speaks_of_python(body: str) -> None:
    try:
        requests.parse(event(body))
    except Problem as refusal:
        answer = refusal.response(event(body), "r-1")
        assert answer["statusCode"] == 400
        told = json.loads(answer["body"].encode())
        assert told["message"].startswith(f"{told['field']} ")
        assert PYTHONS_WORDS.search(told["message"]) is None, told


@pytest.mark.story("LAM-002")
def test_options_are_those_the_caller_set() -> None:
    request = requests.parse(event({"prompt": "x", "idle_minutes": 3, "temperature": 0, "seed": 4}))
    assert request.idle_minutes == 3
    assert request.options() == {"temperature": 0, "seed": 4}


@pytest.mark.story("LAM-002")
def test_a_number_that_is_whole_is_an_integer_however_it_is_written() -> None:
    body = '{"prompt": "x", "idle_minutes": 3.0, "max_tokens": 1e2, "seed": -0.0}'
    request = requests.parse(event(body))
    assert request.idle_minutes == 3
    assert json.dumps(request.options()) == '{"max_tokens": 100, "seed": 0}'


@pytest.mark.story("LAM-002")
def test_a_base64_body_is_read_and_broken_base64_refused() -> None:
    body = base64.b64encode(b'{"prompt": "x"}').decode()
    assert requests.parse({"body": body, "isBase64Encoded": True}).prompt == "x"
    for bad in ("%%%", base64.b64encode(b"\xff").decode()):
        with pytest.raises(Problem, match="UTF-8"):
            requests.parse({"body": bad, "isBase64Encoded": True})

"""What POST /infer accepts and how it refuses (LAM-002)."""

import base64
import json
from typing import Any

import pytest

from router import body as requests
from tlfif import names
from tlfif.proxy import Problem

NUMBERS = ("idle_minutes", "max_tokens", "temperature", "top_p", "seed")


def event(body: Any) -> dict[str, Any]:
    return {
        "body": body if isinstance(body, str) or body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


@pytest.mark.story("LAM-002")
@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (None, "body", "is not JSON"),
        ("{", "body", "is not JSON"),
        ("[" * 100_000, "body", "is not JSON"),
        ("[]", "body", "must be a JSON object"),
        ({}, "prompt", "is missing"),
        ({"prompt": None}, "prompt", "valid string"),
        ({"prompt": 5}, "prompt", "valid string"),
        ({"prompt": ""}, "prompt", "is blank"),
        ({"prompt": " \n"}, "prompt", "is blank"),
        ({"prompt": "x" * 7000}, "prompt", "7000 bytes long in UTF-8; send at most 6000"),
        ({"prompt": "é" * 3001}, "prompt", "6002 bytes"),
        ('{"prompt": "\\ud800"}', "prompt", ""),
        ({"prompt": "x", "idle_minutes": 0}, "idle_minutes", "greater than or equal to 1"),
        ({"prompt": "x", "idle_minutes": 31}, "idle_minutes", "less than or equal to 30"),
        ({"prompt": "x", "idle_minutes": "5"}, "idle_minutes", "valid integer"),
        ({"prompt": "x", "idle_minutes": True}, "idle_minutes", "valid integer"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens", "greater"),
        ({"prompt": "x", "max_tokens": 10**30}, "max_tokens", ""),
        ('{"prompt": "x", "temperature": NaN}', "temperature", ""),
        ('{"prompt": "x", "temperature": 1e999}', "temperature", ""),
        ({"prompt": "x", "top_p": 0}, "top_p", "greater than or equal to 0.01"),
        *(
            ({"prompt": "x", name: None}, name, "send a number, or leave it out")
            for name in NUMBERS
        ),
        ({"prompt": "x", "model": "gpt"}, "model", "use prompt, idle_minutes"),
    ],
)
def test_a_bad_body_is_refused_naming_field_value_and_fix(body: Any, field: str, says: str) -> None:
    with pytest.raises(Problem) as refusal:
        requests.parse(event(body))
    assert refusal.value.status == 400
    assert refusal.value.details["field"] == field
    assert says in refusal.value.message
    assert len(str(refusal.value.details["value"])) <= requests.MAX_SHOWN + 1
    json.dumps(refusal.value.details).encode()


@pytest.mark.story("LAM-002")
def test_the_name_of_an_unknown_field_is_shown_by_its_beginning() -> None:
    with pytest.raises(Problem) as refusal:
        requests.parse(event({"prompt": "x", "k" * 1_000_000: 1}))
    assert refusal.value.details["field"] == "k" * requests.MAX_SHOWN + "…"
    assert len(refusal.value.message) < 300
    assert "use prompt, idle_minutes" in refusal.value.message


@pytest.mark.story("LAM-002")
@pytest.mark.parametrize(
    "prompt", ["x" * names.MAX_PROMPT_BYTES, "é" * 3000, "\0 is a character", "1"]
)
def test_prompts_up_to_six_thousand_bytes_are_accepted(prompt: str) -> None:
    assert requests.parse(event({"prompt": prompt})).prompt == prompt


@pytest.mark.story("LAM-002")
def test_options_are_those_the_caller_set() -> None:
    request = requests.parse(event({"prompt": "x", "idle_minutes": 3, "temperature": 0, "seed": 4}))
    assert request.idle_minutes == 3
    assert request.options() == {"temperature": 0, "seed": 4}


@pytest.mark.story("LAM-002")
def test_a_base64_body_is_read_and_broken_base64_refused() -> None:
    body = base64.b64encode(b'{"prompt": "x"}').decode()
    assert requests.parse({"body": body, "isBase64Encoded": True}).prompt == "x"
    for bad in ("%%%", base64.b64encode(b"\xff").decode()):
        with pytest.raises(Problem, match="UTF-8"):
            requests.parse({"body": bad, "isBase64Encoded": True})

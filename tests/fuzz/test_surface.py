"""The HTTP surface under requests nobody thought of: generated from openapi.yaml, and hostile ones
by hand.

`make fuzz EXAMPLES=1000` sends more of them; a failure is printed as a curl command.
"""

import json
import os
import string
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi import checks
from support.surface import Surface, problem

from components.openapi import OPENAPI, render
from local.aws.faults import Fault
from router.body import parse
from tlfif import names
from tlfif.queue.conversation import size

pytestmark = pytest.mark.integration

PLACEHOLDERS = dict.fromkeys(
    ("router_uri", "authorizer_uri", "replies_role", "replies_uri", "queue_health_uri"), "arn"
)
API = schemathesis.openapi.from_dict(render(OPENAPI.read_text(), PLACEHOLDERS))
# Tokens have tests of their own (test_forgeries.py); here everybody has a good one.
API.config.generation.update(with_security_parameters=False)
OPERATIONS = {
    f"{each.ok().method.upper()} {each.ok().path}": each.ok() for each in API.get_all_operations()
}
INFER, REPLY, CANCEL = (
    OPERATIONS[each] for each in ("POST /infer", "GET /infer/{id}", "DELETE /infer/{id}")
)


@API.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    """Makes a body that the schema allows one that the API takes; one that it forbids stays."""
    made = case.meta.components.get(ParameterLocation.BODY) if case.meta else None
    if case.operation.label == INFER.label and made and made.mode.is_positive:
        case.body = taken(case.body)
    return case


def taken(body: dict[str, Any]) -> dict[str, Any]:
    """What API Gateway's schemas cannot say: either prompt or messages; of messages, the system's
    first only, the user's last, and all contents within the bytes that a prompt may have.
    """
    body = dict(body)
    if "messages" not in body:
        return body | {"prompt": cut(body.get("prompt", "Hello"))}
    body.pop("prompt", None)
    messages = [dict(each) for each in body["messages"]]
    for message in messages[1:]:
        message["role"] = message["role"].replace("system", "assistant")
    messages[-1]["role"] = "user"
    while size(messages) > names.MAX_PROMPT_BYTES and len(messages) > 1:
        del messages[0]
    messages[-1]["content"] = cut(messages[-1]["content"])
    return body | {"messages": messages}


def cut(text: str) -> str:
    """As many of its bytes as a prompt may have; the schema counts characters."""
    kept = text.encode()[: names.MAX_PROMPT_BYTES].decode(errors="ignore")
    return kept if kept.strip(" \t\r\n") else "Hello"


DOCUMENTED = [
    checks.status_code_conformance, checks.content_type_conformance,
    checks.response_headers_conformance, checks.response_schema_conformance,
]  # fmt: skip
# Server errors are the surface's to judge. A method that a path lacks is a 404 here, as every
# unknown route is. The others send requests of their own, which nobody would count.
EXCLUDED = [
    not_a_server_error, checks.unsupported_method, checks.ignored_auth, checks.use_after_free,
    checks.ensure_resource_availability, checks.missing_required_header,
]  # fmt: skip

NOBODYS_ID = "00000000-0000-4000-8000-000000000000"
EXAMPLES = os.environ.get("TLFIF_FUZZ_EXAMPLES")
fuzzed = settings(
    max_examples=int(EXAMPLES or 40),
    derandomize=EXAMPLES is None,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def send(surface: Surface, case: schemathesis.Case, sub: str, **headers: str) -> Any:
    """Sends it as this user and holds the answer against its documentation."""
    options = {"session": surface.http, "headers": surface.headers(sub) | headers, "timeout": 10}
    answer = case.call(base_url=surface.base_url(case.path), **options)
    # A preflight is answered before anything is looked at.
    excluded = [*EXCLUDED, checks.negative_data_rejection] if case.method == "OPTIONS" else EXCLUDED
    with surface.documented():
        case.validate_response(answer, excluded_checks=excluded)
    return answer


def example(operation: schemathesis.APIOperation) -> schemathesis.Case:
    """A plain good request."""
    case = operation.Case(path_parameters={"id": NOBODYS_ID} if "{id}" in operation.path else {})
    if operation is INFER:
        case.body, case.media_type = {"prompt": "Hello"}, "application/json"
    return case


# --- generated


@pytest.mark.story("LAM-002")
def test_both_forms_of_a_request_are_generated_and_are_what_the_router_takes() -> None:
    forms = set[str]()

    @fuzzed
    @given(case=INFER.as_strategy())
    def generated(case: schemathesis.Case) -> None:
        parse({"body": json.dumps(case.body)})
        forms.update({"prompt", "messages"} & case.body.keys())

    generated()
    assert forms == {"prompt", "messages"}


@pytest.mark.story("API-001", "LAM-002")
@API.parametrize()
@fuzzed
def test_every_answer_is_a_documented_one(surface: Surface, case: schemathesis.Case) -> None:
    sub = surface.new_user()
    with surface.watched(sub):
        send(surface, case, sub)


@pytest.mark.story("LAM-003", "LAM-005")
@fuzzed
@given(case=INFER.as_strategy())
def test_what_is_accepted_is_accepted_once_and_can_be_cancelled(
    surface: Surface, case: schemathesis.Case
) -> None:
    sub = surface.new_user()
    with surface.watched(sub):
        answer = send(surface, case, sub, **{"Idempotency-Key": sub})
        again = send(surface, case, sub, **{"Idempotency-Key": sub})
        assert again.json() == answer.json()
    reply, cancel = (
        each.Case(path_parameters={"id": answer.json()["id"]}) for each in (REPLY, CANCEL)
    )
    with surface.watched(sub):
        assert send(surface, reply, sub).status_code == 404
        assert send(surface, cancel, "somebody-else").status_code == 404
        assert send(surface, cancel, sub).json()["status"] == "cancelled"
        assert send(surface, reply, sub).json()["status"] == "cancelled"
        assert send(surface, reply, "somebody-else").status_code == 404


TOKENS = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=20)
VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60
).map(lambda text: text.strip().encode("latin-1"))
KNOWN = st.sampled_from(
    ["Accept", "Content-Type", "Content-Encoding", "Origin", "Cookie", "X-Forwarded-For",
     "X-Amzn-Trace-Id", "X-HTTP-Method-Override", "Idempotency-Key", "Range", "If-None-Match",
     "Forwarded", "X-Original-URL"]
)  # fmt: skip
HEADERS = st.dictionaries(KNOWN | TOKENS.map(lambda name: f"X-{name}"), VALUES, max_size=5)
QUERY = st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10)), max_size=4)


@pytest.mark.story("API-001", "API-003")
@pytest.mark.parametrize("route", OPERATIONS)
def test_nothing_around_a_request_upsets_it(surface: Surface, route: str) -> None:
    operation = OPERATIONS[route]

    @fuzzed
    @given(headers=HEADERS, query=QUERY, body=st.binary(max_size=200))
    def sent(headers: dict[str, bytes], query: list[tuple[str, str]], body: bytes) -> None:
        sub = surface.new_user()
        url = surface.base_url(operation.path) + operation.path.replace("{id}", NOBODYS_ID)
        with surface.watched(sub):
            answer = surface.http.request(
                operation.method,
                url,
                params=query,
                data=body,
                headers={**headers, **surface.headers(sub)},
                timeout=10,
            )
        with surface.documented():
            example(operation).validate_response(answer, checks=DOCUMENTED)

    sent()


# --- by hand

HI, SYSTEM = {"role": "user", "content": "Hi"}, {"role": "system"}
BODIES = {
    "nothing": b"",
    "blank": b"  ",
    "not JSON": b"{prompt: 'x'}",
    "cut off": b'{"prompt": "x',
    "two documents": b'{"prompt": "x"} {"prompt": "y"}',
    "a byte order mark": b'\xef\xbb\xbf{"prompt": "x"}',
    "UTF-16": '{"prompt": "x"}'.encode("utf-16"),
    "half a surrogate pair": b'{"prompt": "\\ud800"}',
    "half a surrogate pair as a field": b'{"prompt": "x", "\\ud800": 1}',
    "half a surrogate pair as a field of its value": b'{"prompt": {"\\udfff": 1}}',
    "a field of control characters": b'{"prompt": "x", "\\u0000\\u001b": 1}',
    "not a number": b'{"prompt": "x", "temperature": NaN}',
    "infinite": b'{"prompt": "x", "temperature": 1e999}',
    "minus infinite": b'{"prompt": "x", "top_p": -Infinity}',
    "a number of 5000 digits": b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}",
    "an integer as a float": b'{"prompt": "x", "seed": 1.5}',
    "a boolean for a number": b'{"prompt": "x", "max_tokens": true}',
    "deep": b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep and cut off": b"[" * 200_000,
    "wide": json.dumps({"prompt": "x"} | {f"f{n}": n for n in range(10_000)}).encode(),
    "a list": b'["prompt"]',
    "null": b"null",
    "too long a prompt": json.dumps({"prompt": "x" * 6001}).encode(),
    "too long a prompt in bytes": json.dumps({"prompt": "\u00e9" * 3001}).encode(),
    "a megabyte": json.dumps({"prompt": "x" * 2**20}).encode(),
    "prototype": b'{"prompt": "x", "__proto__": {"admin": true}}',
    "neither prompt nor messages": b'{"seed": 1}',
    "both": json.dumps({"prompt": "x", "messages": [HI]}).encode(),
    "a conversation of nothing": b'{"messages": []}',
    "a conversation that the system ends": json.dumps({"messages": [HI, HI | SYSTEM]}).encode(),
    "a system in the middle": json.dumps({"messages": [HI, HI | SYSTEM, HI]}).encode(),
    "too many messages": json.dumps({"messages": [HI] * 101}).encode(),
    "a million messages": json.dumps({"messages": [0] * 1_000_000}).encode(),
    "too long a conversation": json.dumps({"messages": [HI | {"content": "x" * 99}] * 61}).encode(),
    "a wide message": json.dumps(
        {"messages": [HI | {f"f{n}": n for n in range(200_000)}]}
    ).encode(),
    "a wide message beyond the last": json.dumps(
        {"messages": [HI] * 100 + [HI | {f"f{n}": n for n in range(200_000)}]}
    ).encode(),
    "half a surrogate pair in a message": (
        b'{"messages": [{"role": "user", "content": "\\udfff"}]}'
    ),
    "the fields of a job": b'{"prompt": "x", "sub": "admin", "reply_key": "replies/admin/x.json"}',
}


@pytest.mark.story("LAM-002")
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("media", ["application/json", "text/plain; charset=utf-7", None])
def test_a_hostile_body_is_a_400_and_leaves_nothing(
    surface: Surface, name: str, media: str | None
) -> None:
    sub = surface.new_user()
    headers = surface.headers(sub) | ({"Content-Type": media} if media else {})
    with surface.watched(sub):
        answer = surface.http.post(
            f"{surface.cloud.api_url}/infer", data=BODIES[name], headers=headers, timeout=10
        )
    assert answer.status_code == 400, answer.text
    assert {"field", "value"} <= problem(answer).keys()


# API Gateway takes 10 MB and Lambda 6, of the event that the body is a text of.
@pytest.mark.parametrize(
    "body",
    [b"x" * 11 * 2**20, b"x" * 10 * 2**20, b"x" * 6 * 2**20, b'"' * 4 * 2**20],
    ids=["11 MB", "10 MB", "6 MB", "4 MB of quotes"],
)
def test_more_than_lambda_takes_is_a_413(surface: Surface, body: bytes) -> None:
    sub = surface.new_user()
    with surface.watched(sub):
        answer = surface.http.post(
            f"{surface.cloud.api_url}/infer", data=body, headers=surface.headers(sub)
        )
    assert (answer.status_code, problem(answer)["error"]) == (413, "too_large")
    assert "6 MB" in problem(answer)["message"]


IDS = [
    "..", "%2e%2e", "..%2f..%2fadmin", "%00", "%", "%zz", "%ff%fe", "x" * 1000, "*", "?",
    "$context", "#set($x=1)", "00000000-0000-1000-8000-000000000000",
    "00000000-0000-4000-8000-000000000000%0a", "job:*", "{id}", "%7Bid%7D",
    "00000000-0000-4000-8000-000000000000.json", "../../v1/status", "a/b", "%F0%9F%98%80",
    "'%20OR%20'1'='1",
]  # fmt: skip


@pytest.mark.story("API-001")
@pytest.mark.parametrize("job", IDS)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_hostile_id_leads_nowhere(surface: Surface, method: str, job: str) -> None:
    sub = surface.new_user()
    with surface.watched(sub):
        answer = surface.raw(method, f"/infer/{job}", sub)
    assert answer.status_code == 404, answer.text


# --- with faults

FAULTS = {
    "no GPU": (
        Fault("ec2", "StartInstances", status=500, code="InsufficientInstanceCapacity", times=None),
        503,
    ),
    "EC2 refuses": (Fault("ec2", status=503, code="RequestLimitExceeded", times=None), 202),
    "S3 refuses": (Fault("s3", status=503, code="SlowDown", times=None), 202),
}


@pytest.mark.story("LAM-004")
@pytest.mark.parametrize("name", FAULTS)
def test_aws_failing_is_a_documented_answer(surface: Surface, name: str) -> None:
    fault, expected = FAULTS[name]

    @settings(fuzzed, max_examples=10)
    @given(case=INFER.as_strategy())
    def sent(case: schemathesis.Case) -> None:
        sub = surface.new_user()
        with surface.watched(sub, node=False, errors=[503]):
            answer = send(surface, case, sub)
        assert answer.status_code == expected
        if expected == 202:
            reply, cancel = (
                each.Case(path_parameters={"id": answer.json()["id"]}) for each in (REPLY, CANCEL)
            )
            with surface.watched(sub, errors=[502]):
                assert send(surface, cancel, sub).status_code == (
                    202 if fault.service == "s3" else 200
                )
                assert send(surface, reply, sub).status_code == (
                    502 if fault.service == "s3" else 200
                )

    with surface.cloud.endpoint.faults.injected(fault):
        sent()


@pytest.mark.story("LAM-003")
def test_without_a_queue_every_answer_is_a_documented_503(surface: Surface) -> None:
    surface.run(surface.cloud.valkey.stop())
    try:
        answers = {
            route: send(surface, example(operation), "nobody")
            for route, operation in OPERATIONS.items()
        }
    finally:
        surface.run(surface.cloud.valkey.start())
    down = {route for route, answer in answers.items() if answer.status_code == 503}
    assert down == {
        "POST /infer",
        "DELETE /infer/{id}",
        "POST /stop",
        "GET /status",
        "GET /queue-health",
    } & set(OPERATIONS)
    assert all(int(answers[route].headers["retry-after"][0]) > 0 for route in down)

"""openapi.yaml: its mapping templates under the local gateway's VTL (CORS, whose reply is read) and
its schemas.
"""

from typing import Any, get_args

import pytest

from components.openapi import OPENAPI, render
from local.apigateway.template_values import Input
from local.apigateway.templates import Rendered, Template
from router.body import InferRequest, Turn
from tlfif import names
from tlfif import proxy as http

NAMES = ("router_uri", "queue_health_uri", "authorizer_uri", "replies_role", "replies_uri")
PLACEHOLDERS = dict.fromkeys(NAMES, "arn")
SPEC = render(OPENAPI.read_text(), PLACEHOLDERS)
PATHS = SPEC["paths"]
REPLY = PATHS["/infer/{id}"]["get"]["x-amazon-apigateway-integration"]
JOB = "0f8fad5b-d9cb-469f-a165-70867728950e"
CORS = "Access-Control-Allow-Origin"


def run(
    template: str, *, body: str = "{}", headers: dict[str, str] | None = None, job: str = JOB
) -> Rendered:
    params = {"path": {"id": job}, "querystring": {}, "header": headers or {}}
    return Template(template, "test").render(Input(body, params), {"authorizer": {"sub": "alice"}})


def response_templates() -> list[Any]:
    preflights = [
        item["options"]["x-amazon-apigateway-integration"]
        for item in PATHS.values()
        if "options" in item
    ]
    responses = [preflight["responses"]["default"] for preflight in preflights] + list(
        REPLY["responses"].values()
    )
    return [response["responseTemplates"]["application/json"] for response in responses]


@pytest.mark.story("API-003")
@pytest.mark.parametrize("template", response_templates())
@pytest.mark.parametrize(
    "origin", ["http://localhost", "http://localhost:3000", "http://localhost:65535"]
)
@pytest.mark.parametrize("header", ["Origin", "origin"])
def test_an_origin_on_localhost_is_echoed(template: str, origin: str, header: str) -> None:
    headers = run(template, headers={header: origin}).response["header"]
    assert (headers[CORS], headers["Vary"]) == (origin, "Origin")


@pytest.mark.story("API-003")
@pytest.mark.parametrize("template", response_templates())
@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "*",
        "https://localhost:3000",
        "http://localhost.example.com",
        "http://localhost:3000.example.com",
        "http://localhost:3000/",
        "http://localhost:123456",
        "http://localhost:",
        "http://127.0.0.1:3000",
        "http://example.com/http://localhost:3000",
        "http://localhost:3000\n",
    ],
)
def test_any_other_origin_gets_no_cors_header(template: str, origin: str | None) -> None:
    headers = run(template, headers={} if origin is None else {"Origin": origin}).response["header"]
    assert headers == {"Vary": "Origin"}


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://example.com"])
def test_replies_from_s3_and_from_functions_have_the_same_cors_headers(origin: str) -> None:
    template = REPLY["responses"]["200"]["responseTemplates"]["application/json"]
    assert run(template, headers={"Origin": origin}).response["header"] == http.cors(origin)


def test_the_documented_request_is_the_one_the_router_accepts() -> None:
    documented = SPEC["components"]["schemas"]["InferRequest"]
    assert list(documented["properties"]) == list(InferRequest.model_fields)
    assert documented["properties"]["prompt"]["maxLength"] == names.MAX_PROMPT_BYTES
    assert documented["properties"]["messages"]["maxItems"] == names.MAX_MESSAGES
    assert documented["properties"]["max_tokens"]["maximum"] == names.MAX_TOKENS
    assert documented["properties"]["top_p"]["minimum"] == names.MIN_TOP_P
    idle = documented["properties"]["idle_minutes"]
    assert (idle["minimum"], idle["maximum"]) == (names.MIN_IDLE_MINUTES, names.MAX_IDLE_MINUTES)


def test_the_documented_message_is_the_one_the_router_accepts() -> None:
    documented = SPEC["components"]["schemas"]["Message"]
    assert list(documented["properties"]) == documented["required"] == list(Turn.model_fields)
    assert documented["properties"]["content"]["maxLength"] == names.MAX_PROMPT_BYTES
    roles = documented["properties"]["role"]["enum"]
    assert tuple(roles) == get_args(Turn.model_fields["role"].annotation)


def test_a_preflight_allows_what_the_clients_send() -> None:
    template = PATHS["/infer"]["options"]["x-amazon-apigateway-integration"]["responses"]["default"]
    headers = run(
        template["responseTemplates"]["application/json"], headers={"Origin": "http://localhost"}
    ).response["header"]
    assert headers["Access-Control-Allow-Methods"] == "GET,POST,DELETE,OPTIONS"
    assert headers["Access-Control-Allow-Headers"] == "Authorization,Content-Type,Idempotency-Key"


def test_a_reply_is_read_under_the_callers_own_sub() -> None:
    rendered = run(REPLY["requestTemplates"]["application/json"])
    assert rendered.request["path"] == {"sub": "alice", "object": f"{JOB}.json"}
    assert rendered.text.strip() == ""


@pytest.mark.parametrize(
    "job",
    [
        "..",
        "../bob/" + JOB,
        JOB.upper(),
        JOB + ".json",
        JOB + "/",
        JOB + "\n",
        "%2e%2e",
        JOB.replace("469f", "169f"),
        JOB.replace("a165", "c165"),
        "",
    ],
)
def test_anything_but_a_uuid4_leads_nowhere(job: str) -> None:
    rendered = run(REPLY["requestTemplates"]["application/json"], job=job)
    assert rendered.request["path"] == {"sub": "alice", "object": "none"}


def test_a_request_cannot_go_around_the_template() -> None:
    assert REPLY["passthroughBehavior"] == "never"
    assert set(REPLY["requestTemplates"]) == {"application/json"}
    assert set(REPLY["requestParameters"].values()) == {"'none'"}


def test_statuses_of_s3_become_those_of_the_contract() -> None:
    statuses = {pattern: response["statusCode"] for pattern, response in REPLY["responses"].items()}
    assert statuses == {"200": "200", "404": "404", "default": "502"}
    body = '{"status":"done","text":"Größe: \\"5\\""}'
    template = REPLY["responses"]["200"]["responseTemplates"]["application/json"]
    assert run(template, body=body).text.strip() == body

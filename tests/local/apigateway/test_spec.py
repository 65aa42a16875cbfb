"""Documents and recordings: what is served, and what is refused by name."""

import re
from dataclasses import replace

import pytest
from support.gateways import document, parse
from support.recordings import evaluate

from local.apigateway.model import SpecError
from local.apigateway.spec import GatewaySpec
from local.apigateway.template_values import VtlError
from recording import kinds
from recording.model import Recording


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ("type: mock => type: http_proxy", SpecError, "GET /mock: integration type 'http_proxy'"),
        (
            "passthroughBehavior: never => passthroughBehavior: maybe",
            SpecError,
            "passthroughBehavior 'maybe'",
        ),
        (
            "timeoutInMillis: 50 => timeoutInMillis: 30000",
            SpecError,
            "timeoutInMillis 30000 is not within 50 to 29000",
        ),
        ("X-Fixed: {schema: {type: string}},  => ", SpecError, "declare the header 'X-Fixed'"),
        ("statusCode: 418 => statusCode: 499", SpecError, "status 499 is not among"),
        (
            "method.request.path.id => method.request.path.ident",
            SpecError,
            "declare the path parameter 'ident'",
        ),
        ("method.request.path.id => request.path.id", SpecError, "not a valid mapping"),
        (
            "integration.request.path.sub: context.authorizer.sub => x: \"'y'\"",
            SpecError,
            "not a valid mapping",
        ),
        ("credentials: arn => x-credentials: arn", SpecError, "needs credentials"),
        ("security: [{jwt: []}] => security: [{jot: []}]", SpecError, "security scheme 'jot'"),
        ("type: token => type: request", SpecError, "only Lambda TOKEN authorizers"),
        (
            "authorizerResultTtlInSeconds: 60 => authorizerResultTtlInSeconds: 3601",
            SpecError,
            "3601 is not within",
        ),
        ("validateRequestBody: false => validateRequestBody: true", SpecError, "validates bodies"),
        (
            "validator: parameters => validator: nothing",
            SpecError,
            "'nothing' is not one of parameters",
        ),
        ("/open/{name}: => /open/x{name}:", SpecError, "fills a whole segment"),
        ("/open/{name}: => /open/{more}:", SpecError, "declare the path parameter 'more'"),
        (
            "$input.params('code') => $inptu.params('code')",
            VtlError,
            "GET /mock request template for ",
        ),
    ],
)
def test_documents_that_cannot_be_served_are_refused(
    change: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=re.escape(says)):
        parse(document(change))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("/open/{name}: => /open/{name+}:", "path '/open/{name+}'"),
        ("    patch: *echo =>     x-amazon-apigateway-any-method: *echo", "path '/echo/{id}'"),
        ("type: aws_proxy => type: aws", "GET /echo/{id}: integration type 'aws' with uri 'arn"),
        ("context.authorizer.sub => stageVariables.mode", "GET /replies/{id}: integration.request"),
        ("\"'fixed'\" => stageVariables.mode", "GET /mock response '2\\\\d\\\\d': method.response"),
        ("\"'5'\" => stageVariables.mode", "gateway response DEFAULT_5XX: gatewayresponse.header"),
        ("$context.requestId => $stageVariables.id", "gateway response DEFAULT_5XX template"),
        ("method.request.path.id => method.request.body", "GET /replies/{id}: integration.request"),
        (
            "integration.response.header.ETag => integration.response.body",
            "GET /replies/{id} response '200': method.response",
        ),
    ],
)
def test_features_that_no_route_uses_are_refused(change: str, place: str) -> None:
    with pytest.raises(SpecError, match=re.escape(place)) as caught:
        parse(document(change))
    assert "not served" in str(caught.value)


def test_binary_media_types_are_refused() -> None:
    binary = {**document(), "x-amazon-apigateway-binary-media-types": ["image/png"]}
    with pytest.raises(SpecError, match="the document: x-amazon-apigateway-binary-media-types"):
        parse(binary)


def test_stage_variables_are_refused() -> None:
    with pytest.raises(SpecError, match="stage v1: access log: stage variables are not served"):
        parse(access_log="$stageVariables.mode")
    whole = evaluate("dev")
    stage = whole.one(kinds.apigateway.STAGE.token)
    varied = replace(stage, inputs={**stage.inputs, "variables": {"mode": "x"}})
    resources = [varied if each is stage else each for each in whole.resources]
    with pytest.raises(SpecError, match=f"stage {stage.name}: stage variables are not served"):
        GatewaySpec.from_recording(replace(whole, resources=resources))


def test_a_recording_without_one_api_is_refused() -> None:
    with pytest.raises(SpecError, match="0 fitting resources of type restApi:RestApi"):
        GatewaySpec.from_recording(Recording(stack="dev", resources=[], outputs={}))

"""Lambda's Invoke, answered by whoever runs the functions."""

import json

import pytest
from botocore.exceptions import ClientError
from support.calls import REGION, ClientOf, call, code

from local.aws.endpoint import Endpoint
from local.lambda_.model import InvokeResult, LambdaApiError
from recording.model import ACCOUNT_ID

pytestmark = pytest.mark.integration


async def test_invokes_functions_by_their_host(endpoint: Endpoint, client_of: ClientOf) -> None:
    async def host(name: str, payload: bytes, client_context: str | None) -> InvokeResult:
        if name == "busy":
            raise LambdaApiError(429, "TooManyRequestsException", "Rate Exceeded.")
        if name != "echo":
            raise LookupError(name)
        error = "Unhandled" if b"fail" in payload else None
        return InvokeResult(
            payload=payload,
            error=error,
            log_tail="a line",
            duration_ms=1,
            cold=False,
            request_id=str(client_context),
        )

    endpoint.on_invoke = host
    lambda_ = client_of("lambda")

    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:echo:prod"
    answer = await call(
        lambda_.invoke, FunctionName=arn, Payload=b'{"a": 1}', LogType="Tail", ClientContext="e30="
    )
    assert json.loads(await call(answer["Payload"].read)) == {"a": 1}
    assert (answer["LogResult"], answer["ResponseMetadata"]["RequestId"]) == ("YSBsaW5l", "{}")
    assert "FunctionError" not in answer

    failed = await call(lambda_.invoke, FunctionName="echo", Payload=b'"fail"')
    assert failed["FunctionError"] == "Unhandled"
    assert (await call(lambda_.invoke, FunctionName="echo", InvocationType="Event"))[
        "StatusCode"
    ] == 202

    for name, refusal in (
        ("none", (404, "ResourceNotFoundException")),
        ("busy", (429, "TooManyRequestsException")),
    ):
        with pytest.raises(ClientError) as error:
            await call(lambda_.invoke, FunctionName=name)
        assert code(error) == refusal

"""AWS's errors, as each of its protocols sends them."""

import json
import secrets
from xml.sax.saxutils import escape

from local.aws.messages import Answer

_JSON_TYPES = {
    "json": b"application/x-amz-json-1.1",
    "rest-json": b"application/json",
}
_ERRORS = "<Errors><Error>{error}</Error></Errors>"
_XML = {
    "ec2": f"<Response>{_ERRORS}<RequestID>{{request_id}}</RequestID></Response>",
    "query": (
        "<ErrorResponse><Error>{error}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    ),
    "rest-xml": "<Error>{error}<RequestId>{request_id}</RequestId></Error>",
}


class AwsError(Exception):
    """AWS refuses a call: HTTP `status` and the service's error `code`."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status = status
        self.code = code


def error_answer(protocol: str, status: int, code: str, message: str) -> Answer:
    """An error as a service of that protocol sends it."""
    request_id = secrets.token_hex(8)
    if protocol in _JSON_TYPES:
        headers = [
            (b"x-amzn-requestid", request_id.encode()),
            (b"x-amzn-errortype", code.encode()),
            (b"content-type", _JSON_TYPES[protocol]),
        ]
        return Answer(status, headers, json.dumps({"__type": code, "message": message}).encode())
    error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    headers = [(b"x-amz-request-id", request_id.encode()), (b"content-type", b"text/xml")]
    return Answer(
        status, headers, _XML[protocol].format(error=error, request_id=request_id).encode()
    )

"""What POST /infer may say: a model, and refusals that name field, value and fix (LAM-002)."""

import base64
import binascii
import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from tlfif import names
from tlfif.proxy import Event, Problem

MAX_SHOWN = 80


def _fits(prompt: str) -> str:
    size = len(prompt.encode())
    if size > names.MAX_PROMPT_BYTES:
        raise ValueError(f"is {size} bytes long in UTF-8; send at most {names.MAX_PROMPT_BYTES}")
    if not prompt.strip(" \t\r\n"):
        raise ValueError("is blank; send some text")
    return prompt


class InferRequest(BaseModel):
    """The body of POST /infer.

    `openapi.yaml` documents the same model; a test holds them together.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: Annotated[str, AfterValidator(_fits)]
    idle_minutes: int | None = Field(None, ge=names.MIN_IDLE_MINUTES, le=names.MAX_IDLE_MINUTES)
    max_tokens: int | None = Field(None, ge=1, le=names.MAX_TOKENS)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, ge=names.MIN_TOP_P, le=1, allow_inf_nan=False)
    seed: int | None = Field(None, ge=0, le=2**31 - 1)

    @field_validator("idle_minutes", "max_tokens", "temperature", "top_p", "seed", mode="before")
    @classmethod
    def _not_null(cls, value: object) -> object:
        if value is None:
            raise ValueError("is null; send a number, or leave it out")
        return value

    def options(self) -> dict[str, Any]:
        """The sampling options the caller set, for the model server."""
        return self.model_dump(exclude={"prompt", "idle_minutes"}, exclude_none=True)


def parse(event: Event) -> InferRequest:
    """The request of a proxy event; raises a 400 Problem."""
    raw = _body(event)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _refusal("body", raw, f"is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _refusal("body", document, 'must be a JSON object such as {"prompt": "Hello"}')
    try:
        return InferRequest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        value = None if first["type"] == "missing" else first["input"]
        raise _refusal(field, value, _fix(first)) from error


def _body(event: Event) -> str:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _refusal("body", None, "is not UTF-8 text") from error


def _fix(error: Any) -> str:
    """pydantic's message, made into an instruction."""
    if error["type"] == "extra_forbidden":
        return f"is not a field of this request; use {', '.join(InferRequest.model_fields)}"
    if error["type"] == "missing":
        return "is missing; send it"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"is not accepted: {error['msg'][0].lower()}{error['msg'][1:]}"


def _refusal(field: str, value: object, fix: str) -> Problem:
    """A 400 with the beginnings of field and value only: a 6 kB prompt is no error message."""
    try:
        shown = json.dumps(value, ensure_ascii=True)
    except (ValueError, RecursionError):
        shown = repr(type(value))
    field, shown = _beginning(field), _beginning(shown)
    return Problem(400, "invalid_request", f"{field} {fix}", field=field, value=shown)


def _beginning(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"

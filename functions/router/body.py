"""What POST /infer may say: a model, and refusals that name field, value and fix (LAM-002).

A refusal speaks of the request as its caller wrote it: in JSON's words, never in Python's.
"""

import base64
import binascii
import itertools
import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from tlfif import names
from tlfif.proxy import Event, Problem
from tlfif.queue.conversation import Message, size

MAX_SHOWN = 80
MESSAGE = '{"role": "user", "content": "Hello"}'
# What each field must be, as refusals say it.
ROLE = "system, user or assistant"
IDLE_MINUTES = f"a whole number from {names.MIN_IDLE_MINUTES} to {names.MAX_IDLE_MINUTES}"
MESSAGES = f"an array of 1 to {names.MAX_MESSAGES} messages such as [{MESSAGE}]"
MAX_SEED = 2**31 - 1
# Up to here a number with a point is the one that was written.
MAX_EXACT = 2**53


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has half of a surrogate pair in it; send whole characters") from None
    if not text.strip(" \t\r\n"):
        raise ValueError("is blank; send some text")
    return text


def _fits(prompt: str) -> str:
    length, most = len(_text(prompt).encode()), names.MAX_PROMPT_BYTES
    if length > most:
        raise ValueError(f"is {length} bytes long in UTF-8; send at most {most}")
    return prompt


class Turn(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "user", "assistant"] = Field(description=ROLE)
    content: Annotated[str, AfterValidator(_text)] = Field(description="text")


class InferRequest(BaseModel):
    """The body of POST /infer, with either `prompt` or `messages`.

    `openapi.yaml` documents the same model; a test holds them together. A description is what the
    field must be, in words that a refusal can use.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: Annotated[str, AfterValidator(_fits)] | None = Field(None, description="text")
    messages: list[Turn] | None = Field(
        None, min_length=1, max_length=names.MAX_MESSAGES, description=MESSAGES
    )
    idle_minutes: int | None = Field(
        None, ge=names.MIN_IDLE_MINUTES, le=names.MAX_IDLE_MINUTES, description=IDLE_MINUTES
    )
    max_tokens: int | None = Field(
        None, ge=1, le=names.MAX_TOKENS, description=f"a whole number from 1 to {names.MAX_TOKENS}"
    )
    temperature: float | None = Field(
        None, ge=0, le=2, allow_inf_nan=False, description="a number from 0 to 2"
    )
    top_p: float | None = Field(
        None,
        ge=names.MIN_TOP_P,
        le=1,
        allow_inf_nan=False,
        description=f"a number from {names.MIN_TOP_P:g} to 1",
    )
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description=f"a whole number from 0 to {MAX_SEED}"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _not_null(cls, value: object, info: ValidationInfo) -> object:
        if value is None:
            wanted = cls.model_fields[str(info.field_name)].description
            raise ValueError(f"is null; send {wanted}, or leave it out")
        return value

    @field_validator("idle_minutes", "max_tokens", "seed", mode="before")
    @classmethod
    def _whole(cls, value: object) -> object:
        """1.0 and 1e2 are integers in JSON Schema, of which openapi.yaml speaks."""
        if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT:
            return int(value)
        return value

    def conversation(self) -> list[Message]:
        """Its messages; none of a request with a prompt."""
        return [Message(role=each.role, content=each.content) for each in self.messages or ()]

    def options(self) -> dict[str, Any]:
        """The sampling options the caller set, for the model server."""
        return self.model_dump(exclude={"prompt", "messages", "idle_minutes"}, exclude_none=True)


def parse(event: Event) -> InferRequest:
    """The request of a proxy event; raises a 400 Problem."""
    raw = _body(event)
    document = _document(raw)
    if not isinstance(document, dict):
        raise _refusal("body", document, 'must be a JSON object such as {"prompt": "Hello"}')
    _check_fields(document)
    try:
        request = InferRequest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        value = None if first["type"] == "missing" else first["input"]
        raise _refusal(field, value, _fix(first)) from error
    _check_whole(request, document)
    return request


def _body(event: Event) -> str:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _refusal("body", None, "is not UTF-8 text") from error


def _document(raw: str) -> Any:
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        fix = f'is not JSON from {where} on; send an object such as {{"prompt": "Hello"}}'
        raise _refusal("body", raw, fix) from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or brackets within brackets.
        fix = "is not JSON that anybody reads: it is too deep, or has too long a number"
        raise _refusal("body", raw, fix) from error


def _check_fields(document: dict[str, Any]) -> None:
    """Refuses what is no field, at the first of them: a body has room for a million, and the model
    would collect them all for seconds. Of messages too many none is looked at.
    """
    _check_known(document, InferRequest, "this request")
    messages = document.get("messages")
    turns = messages if isinstance(messages, list) else []
    if len(turns) > names.MAX_MESSAGES:
        raise _refusal("messages", messages, f"must be {MESSAGES}")
    for number, turn in enumerate(turns):
        if isinstance(turn, dict):
            _check_known(turn, Turn, "a message", f"messages.{number}.")


def _check_known(given: dict[str, Any], model: type[BaseModel], whose: str, at: str = "") -> None:
    known = model.model_fields
    for name in given:
        if name not in known:
            fix = f"is not a field of {whose}; use {', '.join(known)}"
            raise _refusal(f"{at}{name}", given[name], fix)


def _check_whole(request: InferRequest, document: dict[str, Any]) -> None:
    """What concerns more than one field; raises a 400 Problem."""
    messages = request.conversation()
    if not messages and request.prompt is None:
        raise _refusal("prompt", None, "is missing; send prompt or messages")
    if not messages:
        return
    shown = document["messages"]
    if request.prompt is not None:
        raise _refusal("messages", shown, "cannot be sent beside prompt; send one of the two")
    for number, message in enumerate(messages[1:], 1):
        if message["role"] == "system":
            fix = "is system, which only the first message may be; send user or assistant"
            raise _refusal(f"messages.{number}.role", "system", fix)
    last = messages[-1]["role"]
    if last != "user":
        fix = f"is {last}, and the last message must be the user's; send user"
        raise _refusal(f"messages.{len(messages) - 1}.role", last, fix)
    length, most = size(messages), names.MAX_PROMPT_BYTES
    if length > most:
        fix = f"have {length} bytes in UTF-8 together; send at most {most}: leave out the oldest"
        raise _refusal("messages", shown, fix)


def _fix(error: Any) -> str:
    """What the sender is to do about an error of pydantic's, in our words."""
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    match error["loc"]:
        case ("messages", int(), str(name)):
            wanted = Turn.model_fields[name].description
        case ("messages", int()):
            wanted = f"an object such as {MESSAGE}"
        case (name, *_):
            wanted = InferRequest.model_fields[name].description
        case _:
            wanted = "a JSON object"
    return f"is missing; send {wanted}" if error["type"] == "missing" else f"must be {wanted}"


def _refusal(field: str, value: object, fix: str) -> Problem:
    """A 400 with the beginnings of field and value only: a 6 kB prompt is no error message."""
    # Piece by piece, each of a character at least: of a megabyte, or of a thousand brackets, no
    # more is looked at than is shown.
    pieces = json.JSONEncoder().iterencode(value)
    shown = _beginning("".join(itertools.islice(pieces, MAX_SHOWN + 1)))
    # A name may have what is no character.
    field = _beginning(field).encode(errors="backslashreplace").decode()
    return Problem(400, "invalid_request", f"{field} {fix}", field=field, value=shown)


def _beginning(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"

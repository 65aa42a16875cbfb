"""OpenAI's messages, made into those that the stack takes: of system, user and assistant."""

from typing import Any

from gui.bridge.errors import OpenAIError

# The stack's limits: of all contents together in UTF-8, and of messages.
MAX_BYTES, MAX_MESSAGES = 6_000, 100
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
TEXT_PARTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
# What merges several system messages, and the parts of one content.
BETWEEN_SYSTEM, BETWEEN_PARTS = "\n\n", "\n"
NO_TOOLS = "this model calls no tools: send none of their calls and answers"


def converted(messages: Any) -> list[dict[str, str]]:
    """The stack's messages: system ones are merged into one at the front, blank ones left out.

    Raises OpenAIError.
    """
    if not isinstance(messages, list) or not messages:
        raise OpenAIError(
            400, "messages is no list of messages, or an empty one; send some", param="messages"
        )
    system: list[str] = []
    others: list[dict[str, str]] = []
    for number, message in enumerate(messages):
        role, content = _message(message, f"messages.{number}")
        if not content.strip():
            continue
        if role == "system":
            system.append(content)
        else:
            others.append({"role": role, "content": content})
    _ends_with_a_user(messages, others)
    merged = [{"role": "system", "content": BETWEEN_SYSTEM.join(system)}] if system else []
    return _fits(merged + others)


def _ends_with_a_user(messages: list[Any], others: list[dict[str, str]]) -> None:
    """Raises OpenAIError when there is nothing to answer."""
    last = len(messages) - 1
    if not others:
        raise OpenAIError(400, "messages has no text of a user's; send some", param="messages")
    # An empty message of the assistant's is the place that some clients keep for the answer.
    if others[-1]["role"] == "assistant":
        raise OpenAIError(
            400,
            f"messages.{last} is the assistant's: its words cannot be put into its mouth here; "
            "end with a user message",
            param=f"messages.{last}.role",
        )
    said = messages[-1]
    if said.get("role") == "user" and not _text(said.get("content"), "").strip():
        where = f"messages.{last}.content"
        raise OpenAIError(400, f"{where} is blank; send some text", param=where)


def _fits(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Raises OpenAIError, with the code by which clients know that they should send less."""
    size = sum(len(message["content"].encode()) for message in messages)
    if size <= MAX_BYTES and len(messages) <= MAX_MESSAGES:
        return messages
    raise OpenAIError(
        400,
        f"This model's conversations have at most {MAX_BYTES} bytes in UTF-8 and {MAX_MESSAGES} "
        f"messages; yours has {size} bytes in {len(messages)} messages. Leave out the oldest ones.",
        code="context_length_exceeded",
        param="messages",
    )


def _message(message: Any, where: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise OpenAIError(400, f"{where} is no object with role and content", param=where)
    role = message.get("role")
    if role in ("tool", "function"):
        raise OpenAIError(400, f"{where}.role {role!r}: {NO_TOOLS}", param=f"{where}.role")
    if not isinstance(role, str) or role not in ROLES:
        known = ", ".join(ROLES)
        raise OpenAIError(400, f"{where}.role is none of {known}", param=f"{where}.role")
    for name in ("tool_calls", "function_call", "audio"):
        if message.get(name):
            told = NO_TOOLS if name != "audio" else "this model hears and speaks nothing"
            raise OpenAIError(400, f"{where}.{name}: {told}", param=f"{where}.{name}")
    content = message.get("content")
    if content is None and role == "assistant":
        # As clients send back what was refused.
        content = message.get("refusal") or ""
    return ROLES[role], _text(content, f"{where}.content")


def _text(content: Any, where: str) -> str:
    if isinstance(content, list):
        parts = (_part(part, f"{where}.{number}") for number, part in enumerate(content))
        return BETWEEN_PARTS.join(parts)
    return _checked(content, where)


def _part(part: Any, where: str) -> str:
    if not isinstance(part, dict):
        raise OpenAIError(400, f"{where} is no part with a type", param=where)
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in TEXT_PARTS:
        shown = str(kind)[:40]
        raise OpenAIError(
            400,
            f"{where} is of type {shown!r}, and this model reads text only: no images, sounds or "
            "files; send parts of type text",
            code="unsupported_content",
            param=f"{where}.type",
        )
    name = TEXT_PARTS[kind]
    return _checked(part.get(name), f"{where}.{name}")


def _checked(text: Any, where: str) -> str:
    if not isinstance(text, str):
        raise OpenAIError(400, f"{where} is no text; send some", param=where)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise OpenAIError(
            400, f"{where} has half of a surrogate pair, which is no character", param=where
        ) from None
    return text

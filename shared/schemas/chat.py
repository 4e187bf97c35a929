"""The chat request as the gateway reads it: routing fields taken out, everything else passed on untouched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.errors import InvalidRequest
from shared.schemas.chat_fields import ChatFields
from shared.schemas.forbidden import PRICING, refuse_forbidden
from shared.schemas.requirements import NO_REQUIREMENTS, Requirements, requirements_of
from shared.schemas.strict_json import load_object
from shared.schemas.validation import validate
from shared.values import dataclass

AUTO = "auto"
MAX_PROMPT_CHARS = 1_500_000
"""Text of all messages together, some 400,000 tokens."""

_KEPT_FROM_OPENROUTER = PRICING | {"model", "models"}
_KEPT_FROM_OTHERS = _KEPT_FROM_OPENROUTER | {"session_id"}
_STANDS_FOR_CONTENT = ("tool_calls", "function_call", "refusal", "audio")


@dataclass(frozen=True, slots=True, eq=False)
class ChatRequest:
    """A validated body.

    Attributes:
        body: what goes to the upstream, without `model`, `models` and our own fields; unknown fields untouched.
        model: the pinned model, or None for `auto` or no model.
        models: arms that the client allows; empty for all.
        routing_text: text of the last user message; "" where it has none (images only).
        stream: whether the answer is streamed.
        include_usage: whether the client asked for a usage chunk.
        session_id: the conversation's name, or None. It is in `body`, too, where the upstream knows the field.
        requirements: what the request requires of a model.
    """

    body: Mapping[str, object]
    model: str | None
    models: tuple[str, ...]
    routing_text: str
    stream: bool
    include_usage: bool
    session_id: str | None = None
    requirements: Requirements = NO_REQUIREMENTS


def parse_chat(raw: bytes, *, forward_session: bool = False) -> ChatRequest:
    """Parse and validate a chat body. Raises InvalidRequest, with the field named.

    `session_id` is ours and OpenRouter's; others refuse what they do not know, so it goes on only with
    `forward_session`.
    """
    body = load_object(raw)
    refuse_forbidden(body)
    fields = validate(ChatFields, body)
    messages: list[dict[str, Any]] = body["messages"]
    if sum([_check_content(index, message) for index, message in enumerate(messages)]) > MAX_PROMPT_CHARS:
        raise InvalidRequest(
            f"The messages are longer than {MAX_PROMPT_CHARS} characters.",
            code="context_length_exceeded",
            param="messages",
        )
    kept_back = _KEPT_FROM_OPENROUTER if forward_session else _KEPT_FROM_OTHERS
    return ChatRequest(
        body={name: value for name, value in body.items() if name not in kept_back},
        model=None if fields.model == AUTO else fields.model,
        models=tuple(fields.models or ()),
        routing_text=_routing_text(messages),
        stream=bool(fields.stream),
        include_usage=bool(fields.stream_options and fields.stream_options.include_usage),
        session_id=fields.session_id,
        requirements=requirements_of(body),
    )


def _check_content(index: int, message: Mapping[str, Any]) -> int:
    """Check one message's content; return the length of its text."""
    content = message.get("content")
    param = f"messages[{index}].content"
    if isinstance(content, str):
        return len(content)
    if content is None:
        if any(message.get(name) for name in _STANDS_FOR_CONTENT):
            return 0
        raise _invalid("A message without tool calls needs content.", param)
    if not isinstance(content, list) or not content:
        raise _invalid("Content must be a string or a non-empty list of parts.", param)
    return sum(_check_part(part, f"{param}[{number}]") for number, part in enumerate(content))


def _check_part(part: object, param: str) -> int:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise _invalid("A content part must be an object with a type.", param)
    if part["type"] != "text":
        return 0  # an image's address is the upstream's business: we never fetch it
    if not isinstance(part.get("text"), str):
        raise _invalid("A text part needs its text, a string.", f"{param}.text")
    return len(part["text"])


def _routing_text(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            content = message.get("content")
            if isinstance(content, list):
                return "\n".join(part["text"] for part in content if part["type"] == "text")
            return content or ""
    return ""


def _invalid(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_type", param=param)

"""Chat request: parsing and validation. Routing fields are removed, all other fields pass unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from shared.errors import InvalidRequest
from shared.schemas.chat_fields import ChatFields
from shared.schemas.forbidden import REROUTING, known_wishes, refuse_forbidden
from shared.schemas.requirements import NO_REQUIREMENTS, Requirements, requirements_of
from shared.schemas.strict_json import load_object
from shared.schemas.validation import validate

AUTO = "auto"
MAX_PROMPT_CHARS = 1_500_000
"""Text of all messages together, some 400,000 tokens."""

_KEPT_FROM_OPENROUTER = REROUTING | {"model", "models"}
_KEPT_FROM_OTHERS = _KEPT_FROM_OPENROUTER | {"session_id"}


class ChatRequest(Struct, frozen=True, eq=False):
    """A validated body.

    Attributes:
        body: fields for the upstream, without `model`, `models`, our own fields and unknown wishes in `provider`;
            all others unchanged.
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
    ignored: tuple[str, ...] = ()
    """Names of dropped fields, for a response header."""


def parse_chat(raw: bytes, *, forward_session: bool = False) -> ChatRequest:
    """Parse and validate a chat body. Raises InvalidRequest, with the field named.

    `session_id` is ours and OpenRouter's; others refuse what they do not know, so it goes on only with
    `forward_session`.
    """
    body = load_object(raw)
    refuse_forbidden(body)
    fields = validate(ChatFields, body)
    messages = _checked(body["messages"])
    if sum([_text_chars(message.get("content")) for message in messages]) > MAX_PROMPT_CHARS:
        raise InvalidRequest(
            f"The messages are longer than {MAX_PROMPT_CHARS} characters.",
            code="context_length_exceeded",
            param="messages",
        )
    kept_back = _KEPT_FROM_OPENROUTER if forward_session else _KEPT_FROM_OTHERS
    passed = {name: value for name, value in body.items() if name not in kept_back}
    wishes = passed.pop("provider", None)
    ignored: tuple[str, ...] = ()
    if wishes is not None:
        wishes, ignored = known_wishes(wishes)
        if wishes is not None:
            passed["provider"] = wishes
    return ChatRequest(
        body=passed,
        model=None if fields.model == AUTO else fields.model,
        models=tuple(fields.models or ()),
        routing_text=_routing_text(messages),
        stream=bool(fields.stream),
        include_usage=bool(fields.stream_options and fields.stream_options.include_usage),
        session_id=fields.session_id,
        requirements=requirements_of(body),
        ignored=ignored,
    )


def _checked(messages: list[Any]) -> list[dict[str, Any]]:
    """Return the messages, each an object with a role. The upstream checks their other fields."""
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequest("Input should be an object.", code="invalid_type", param=f"messages[{index}]")
        if not isinstance(message.get("role"), str):
            code = "invalid_type" if "role" in message else "missing_required_parameter"
            raise InvalidRequest("A message needs its role, a string.", code=code, param=f"messages[{index}].role")
    return messages


def _texts(content: object) -> list[str]:
    """Return the texts of a message's content; none where it has another shape."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    texts = [part.get("text") if isinstance(part, dict) else part for part in content]
    return [text for text in texts if isinstance(text, str)]


def _text_chars(content: object) -> int:
    return len(content) if isinstance(content, str) else sum([len(text) for text in _texts(content)])


def _routing_text(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            return "\n".join(_texts(message.get("content")))
    return ""

"""OpenAI's Responses: `responses_request.py` reads requests, `responses_events.py` writes streamed answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.gateway.dialects.answer_parts import AnswerParts
from services.gateway.dialects.dialect import Dialect, Envelope
from services.gateway.dialects.original import responses_with_original
from services.gateway.dialects.responses_events import ResponsesEvents
from services.gateway.dialects.responses_items import Asked, ended
from services.gateway.dialects.responses_request import ResponsesFields, chat_body_of
from services.gateway.dialects.tool_names import ToolNames
from shared.clients.upstream_json import dumps
from shared.schemas.chat import Translated
from shared.schemas.strict_json import validate
from shared.schemas.upstream import RESPONSES as API


class ResponsesExchange:
    """One Responses request. `Exchange` describes the methods."""

    def __init__(self) -> None:
        self._asked: Mapping[str, Any] = {}
        self._names = ToolNames()

    def chat_body(self, body: dict[str, Any]) -> Translated:
        """Return the request as a chat body. Raises InvalidRequest."""
        validate(ResponsesFields, body)
        self._asked = {name: value for name, value in body.items() if name != "input"}
        return responses_with_original(body, lambda body: chat_body_of(body, self._names))

    def answer(self, chat_answer: Mapping[str, Any], envelope: Envelope) -> bytes:
        """Return a whole answer."""
        parts = AnswerParts(envelope.request_id)
        for _ in parts.read(chat_answer):
            pass
        return dumps(ended(Asked(self._asked, self._names, envelope), parts))

    def events(self, envelope: Envelope) -> ResponsesEvents:
        """Return the writer of a streamed answer."""
        return ResponsesEvents(Asked(self._asked, self._names, envelope))


_FIELDS = {
    "logprobs": "top_logprobs", "max_completion_tokens": "max_output_tokens", "messages": "input",
    "reasoning_effort": "reasoning.effort", "response_format": "text.format",
}  # fmt: skip

RESPONSES = Dialect(ResponsesExchange, _FIELDS, lambda _status, error, _request_id: dumps({"error": error}), API)

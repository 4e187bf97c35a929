"""Chat request reader: from headers and body to the chat request and its conversation."""

from __future__ import annotations

import hashlib

from services.gateway.request_context import Headers, RequestContext
from shared.errors import InvalidRequest
from shared.ports import Clock
from shared.schemas.chat import ChatRequest, parse_chat
from shared.schemas.chat_fields import MAX_SESSION_CHARS

CONTROL = "x-simulate"
SESSION = "x-session-id"
EXPLORE = "x-router-explore"
IGNORED = "x-router-ignored"
_SESSION_DIGITS = 32


class ChatRequestReader:
    """Reads chat requests.

    `forward_control`: `x-simulate` goes on to the upstream, only where no real key is set, so never to one that costs
    money. `forward_session`: `session_id` goes on in the body, to OpenRouter alone, for others refuse what they do not
    know.
    """

    def __init__(self, clock: Clock, *, forward_control: bool, forward_session: bool) -> None:
        self._clock = clock
        self._forward_control = forward_control
        self._forward_session = forward_session

    def read(self, request: RequestContext, raw: bytes) -> ChatRequest:
        """Return the chat request of a body, and complete its context. Raises InvalidRequest."""
        request.body_read_at = self.now()
        chat = self.parse(raw)
        self.complete(request, chat)
        return chat

    def now(self) -> float:
        """Return the instant for `body_read_at`."""
        return self._clock.monotonic()

    def parse(self, raw: bytes) -> ChatRequest:
        """Return the chat request of a body. Raises InvalidRequest."""
        return parse_chat(raw, forward_session=self._forward_session)

    def complete(self, request: RequestContext, chat: ChatRequest) -> None:
        """Set what headers and body say of the conversation. Raises InvalidRequest for a header that is not valid."""
        if chat.ignored:
            request.response_headers[IGNORED] = ", ".join(chat.ignored)
        control = request.headers.get(CONTROL, "") if self._forward_control else ""
        if control:
            request.control = {CONTROL: control}
        request.session = _session(request.headers, chat)
        request.explore = _explore(request.headers)


def _session(headers: Headers, chat: ChatRequest) -> str | None:
    """Return the hash of the conversation's id: the body's, else the header's, else that of its prompt cache.

    What is stored is bounded and opaque.
    """
    sent = headers.getall(SESSION, ())
    if len(sent) > 1 or (sent and not 1 <= len(sent[0]) <= MAX_SESSION_CHARS):
        raise InvalidRequest(
            f"The header must be sent once, with 1 to {MAX_SESSION_CHARS} characters.",
            code="invalid_value",
            param=SESSION,
        )
    session_id = chat.session_id or (sent[0] if sent else None) or _cache_key(chat)
    if session_id is None:
        return None
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:_SESSION_DIGITS]


def _cache_key(chat: ChatRequest) -> str | None:
    """Return OpenAI's `prompt_cache_key`: requests that share it share the beginning of a prompt, and its cache."""
    key = chat.body.get("prompt_cache_key")
    return f"prompt_cache_key:{key}" if isinstance(key, str) and key else None


def _explore(headers: Headers) -> bool:
    word = headers.get(EXPLORE, "on").strip().lower()
    if word not in {"on", "off"}:
        raise InvalidRequest("The header must be `on` or `off`.", code="invalid_value", param=EXPLORE)
    return word == "on"

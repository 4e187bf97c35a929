"""From a chat request's headers and body to what is asked and who asks: in which conversation, and how freely."""

from __future__ import annotations

import hashlib

from services.gateway.chat.plan import Asker
from services.gateway.request_context import RequestContext
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

    def read(self, visit: RequestContext, raw: bytes) -> tuple[ChatRequest, Asker]:
        """Return what a body asks, and who asks. Raises InvalidRequest."""
        started = self.now()
        chat = self.parse(raw)
        return chat, self.asker(visit, chat, started)

    def now(self) -> float:
        """Return the instant that `asker` wants, once the body has come."""
        return self._clock.monotonic()

    def parse(self, raw: bytes) -> ChatRequest:
        """Return what a body asks. Raises InvalidRequest."""
        return parse_chat(raw, forward_session=self._forward_session)

    def asker(self, visit: RequestContext, chat: ChatRequest, started: float) -> Asker:
        """Return who asks. Raises InvalidRequest for a header that cannot be meant."""
        if chat.ignored:
            visit.told[IGNORED] = ", ".join(chat.ignored)
        control = visit.headers.get(CONTROL, "") if self._forward_control else ""
        return Asker(
            own_id=visit.own_id,
            public_id=visit.public_id,
            owner=visit.caller.owner,
            started=started,
            control={CONTROL: control} if control else {},
            line=visit.line,
            told=visit.told,
            session=_session(visit, chat),
            explore=_explore(visit),
        )


def _session(visit: RequestContext, chat: ChatRequest) -> str | None:
    """Return the hash of the conversation's id: the body's, else the header's, else that of its prompt cache.

    What is stored is bounded and opaque.
    """
    sent = visit.headers.getall(SESSION, ())
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


def _explore(visit: RequestContext) -> bool:
    word = visit.headers.get(EXPLORE, "on").strip().lower()
    if word not in {"on", "off"}:
        raise InvalidRequest("The header must be `on` or `off`.", code="invalid_value", param=EXPLORE)
    return word == "on"

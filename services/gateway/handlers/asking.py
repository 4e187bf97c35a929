"""What the headers of a chat request say: who asks, in which conversation, and whether anything may be tried out."""

from __future__ import annotations

import hashlib

from aiohttp import web

from services.gateway.keys import FORWARD_CONTROL, LINE, OWN_ID, OWNER, PUBLIC_ID, TOLD
from services.gateway.plan import Asker
from shared.errors import InvalidRequest
from shared.schemas.chat import ChatRequest
from shared.schemas.chat_fields import MAX_SESSION_CHARS

CONTROL = "x-simulate"
SESSION = "x-session-id"
EXPLORE = "x-router-explore"
_SESSION_DIGITS = 32


def asker_of(request: web.Request, chat: ChatRequest, started: float) -> Asker:
    """Return who asks. Raises InvalidRequest for a header that cannot be meant."""
    control = request.headers.get(CONTROL) if request.app[FORWARD_CONTROL] else None
    return Asker(
        own_id=request[OWN_ID],
        public_id=request[PUBLIC_ID],
        owner=request[OWNER],
        started=started,
        control={} if control is None else {CONTROL: control},
        line=request[LINE],
        told=request[TOLD],
        session=_session(request, chat),
        explore=_explore(request),
    )


def _session(request: web.Request, chat: ChatRequest) -> str | None:
    """Return the hash of the conversation's id: the body's, else the header's. What is stored is bounded and opaque."""
    sent = request.headers.getall(SESSION, [])
    if len(sent) > 1 or (sent and not 1 <= len(sent[0]) <= MAX_SESSION_CHARS):
        raise InvalidRequest(
            f"The header must be sent once, with 1 to {MAX_SESSION_CHARS} characters.",
            code="invalid_value",
            param=SESSION,
        )
    session_id = chat.session_id or (sent[0] if sent else None)
    if session_id is None:
        return None
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:_SESSION_DIGITS]


def _explore(request: web.Request) -> bool:
    word = request.headers.get(EXPLORE, "on").strip().lower()
    if word not in {"on", "off"}:
        raise InvalidRequest("The header must be `on` or `off`.", code="invalid_value", param=EXPLORE)
    return word == "on"

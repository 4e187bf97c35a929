"""What the headers of a chat request say: who asks, in which conversation, and whether anything may be tried out."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial

from aiohttp import web

from services.gateway.json_body import read_body
from services.gateway.keys import (
    CHAT,
    FORWARD_CONTROL,
    FORWARD_SESSION,
    LINE,
    OWN_ID,
    OWNER,
    PARSING,
    PUBLIC_ID,
    SETTINGS,
    TOLD,
)
from services.gateway.plan import Asker
from shared.errors import InvalidRequest
from shared.schemas.chat import ChatRequest, parse_chat
from shared.schemas.chat_fields import MAX_SESSION_CHARS

CONTROL = "x-simulate"
SESSION = "x-session-id"
EXPLORE = "x-router-explore"
_SESSION_DIGITS = 32

BIG_BODY = 131_072
"""Up to this, parsing takes less than handing it to a thread and back is worth: about a millisecond."""


async def read_chat(request: web.Request) -> tuple[ChatRequest, Asker]:
    """Return a chat request and who asks. Raises InvalidRequest and whatever `read_body` does.

    A big body is parsed in a thread, and only one at a time: no step of the parser holds the interpreter for long, but
    all of them together would let everybody else wait, and so would two threads that take turns.
    """
    raw = await read_body(request, request.app[SETTINGS])
    started = request.app[CHAT].clock.monotonic()
    parse = partial(parse_chat, raw, forward_session=request.app[FORWARD_SESSION])
    if len(raw) < BIG_BODY:
        chat = parse()
    else:
        async with request.app[PARSING]:
            chat = await asyncio.to_thread(parse)
    return chat, asker_of(request, chat, started)


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

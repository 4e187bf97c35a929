"""Chat handler: reads headers and body of a chat request, calls the use case, and renders the answer's headers.

It knows neither HTTP server. `handlers/chat.py` (aiohttp) and `fast_chat.py` (the fast path) call it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import partial

from msgspec.structs import replace

from services.gateway.chat.route_chat import Completed, RouteChat
from services.gateway.chat.streaming import OpenStream
from services.gateway.feedback.signed_links import SignedLinks
from services.gateway.http.sessions import session_of
from services.gateway.limits.admission import BodyBytes, memory_of
from services.gateway.request_context import Headers, RequestContext
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision
from shared.errors import InvalidRequest, Unavailable
from shared.ports import Clock
from shared.schemas.chat import ChatRequest, Translate, parse_chat
from shared.schemas.terms import with_headers
from shared.schemas.upstream import Answer, Sink

CONTROL = "x-simulate"
EXPLORE = "x-router-explore"
EVALUATE = "x-router-evaluate"
IGNORED = "x-router-ignored"

JSON_TYPE = "application/json"
_EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}

LARGE_BODY = 131_072
"""Bytes of a body from which it is parsed in a thread: a smaller one takes about a millisecond."""

Open = Callable[[dict[str, str]], Awaitable[Sink]]
"""Sends the headers of a streamed response."""


@dataclass(eq=False, repr=False)
class ChatHandler:
    """Handles chat requests.

    `forward_control`: `x-simulate` goes on to the upstream, only where no real key is set, so never to one that costs
    money. `forward_session`: `session_id` goes on in the body, to OpenRouter alone, for others refuse what they do not
    know.
    """

    use_case: RouteChat
    links: SignedLinks
    body_bytes: BodyBytes
    clock: Clock
    _: KW_ONLY
    forward_control: bool
    forward_session: bool
    _parsing: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)  # held while a large body is parsed

    async def read(self, context: RequestContext, raw: bytes, translate: Translate | None = None) -> ChatRequest:
        """Return the chat request of a body, and complete its context. Raises InvalidRequest and Unavailable.

        `translate` makes a chat body of that of another API.

        A large body is parsed in a thread, one at a time: no step of the parser holds the interpreter for long, but all
        of them together would delay every other request, and so would two threads that take turns.
        """
        context.body_read_at = self.clock.monotonic()
        if len(raw) < LARGE_BODY:
            chat = parse_chat(raw, forward_session=self.forward_session, translate=translate)
        else:
            async with self._parsing:
                parsed = [await asyncio.to_thread(self._parse_large, raw, translate)]
            del raw
            chat, memory = parsed.pop()
            try:
                self.body_bytes.hold(context, memory)
            except Unavailable:
                del chat  # the error keeps this frame
                raise
        self._complete(context, chat)
        terms = with_headers(chat.terms, partial(_header, context.headers))
        return chat if terms is chat.terms else replace(chat, terms=terms)

    async def respond(self, context: RequestContext, chat: ChatRequest) -> tuple[dict[str, str], bytes]:
        """Route and call; return headers and body of the answer, which is recorded."""
        headers, answer = await self.answer(context, chat)
        return headers, answer.body

    async def answer(self, context: RequestContext, chat: ChatRequest) -> tuple[dict[str, str], Answer]:
        """Route and call; return the headers, and the answer, whose body may be in the API of the request."""
        done = await self.use_case.complete(await self.use_case.route(context, chat))
        return answer_headers(context, done, self.links), done.answer

    async def stream(
        self, context: RequestContext, chat: ChatRequest, begin: Open, end: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Route and call; send the answer's headers by `begin`, its events, and by `end` the last of them."""

        async def open_response(opened: OpenStream) -> Sink:
            return await begin(stream_headers(context, opened, self.links))

        async with self.use_case.stream(await self.use_case.route(context, chat), open_response) as opened:
            await end(await opened.pour())

    def _parse_large(self, raw: bytes, translate: Translate | None) -> tuple[ChatRequest, int]:
        chat = parse_chat(raw, forward_session=self.forward_session, translate=translate)
        return chat, memory_of(raw, chat.body)

    def _complete(self, context: RequestContext, chat: ChatRequest) -> None:
        """Set what headers and body say of the conversation. Raises InvalidRequest for a header that is not valid."""
        if chat.ignored:
            context.response_headers[IGNORED] = ", ".join(chat.ignored)
        control = context.headers.get(CONTROL, "") if self.forward_control else ""
        if control:
            context.control = {CONTROL: control}
        context.session = session_of(context.headers, chat)
        context.explore = _allows(context.headers, EXPLORE)
        context.evaluate = _allows(context.headers, EVALUATE)


def _header(headers: Headers, name: str) -> str:
    return headers.get(name, "")


def _allows(headers: Headers, name: str) -> bool:
    word = headers.get(name, "on").strip().lower()
    if word not in {"on", "off"}:
        raise InvalidRequest("The header must be `on` or `off`.", code="invalid_value", param=name)
    return word == "on"


# -- headers of an answer ----------------------------------------------------------------------------------------------


def answer_headers(context: RequestContext, done: Completed, links: SignedLinks) -> dict[str, str]:
    """Return the headers of a whole answer."""
    outcome = done.served.outcome
    headers = _headers(context, done.served.decision, outcome.arm, outcome.overhead_s, links)
    if done.degraded:
        headers["x-router-degraded"] = ",".join(done.degraded)
    if outcome.cost_usd is not None:
        headers["x-router-cost-usd"] = f"{outcome.cost_usd:.9f}"
    headers["Content-Type"] = JSON_TYPE
    return headers


def stream_headers(context: RequestContext, opened: OpenStream, links: SignedLinks) -> dict[str, str]:
    """Return the headers of a streamed answer."""
    return _headers(context, opened.decision, opened.arm, opened.overhead_s, links) | _EVENT_STREAM


def _headers(
    context: RequestContext, decision: Decision, arm: ArmId, overhead_s: float, links: SignedLinks
) -> dict[str, str]:
    headers = {
        "x-router-model": arm,
        "x-router-decision": decision.kind,
        "x-router-propensity": f"{decision.propensity:.6g}",
        "x-router-overhead-ms": f"{overhead_s * 1000:.2f}",
    }
    if decision.degraded:
        headers["x-router-degraded"] = ",".join(decision.degraded)
    if decision.session:
        headers["x-router-session"] = "held"
    if decision.exploration != "on":
        headers["x-router-exploration"] = decision.exploration
    link = links.path(context.own_id)
    if link is not None:
        headers["x-router-feedback-url"] = link
    return headers

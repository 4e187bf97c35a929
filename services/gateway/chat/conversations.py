"""Conversations: which arm has one, and whether a request asks again what was answered a moment ago."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from msgspec import Struct

from services.gateway.request_context import RequestContext
from shared.bandit.arms import ArmId, Price
from shared.errors import DependencyError
from shared.ports import RequestLog
from shared.resilience.circuit_breaker import CircuitBreaker
from shared.schemas.chat import ChatRequest
from shared.schemas.storage import LastAnswer

REPEATED_S = 600.0
"""A prompt that comes again in its conversation within this time was not answered well, it seems."""

CACHE_S = 600.0
"""For so long the beginning of a prompt is probably in the upstream's cache: providers keep it for 5 to 60 minutes."""

MIN_CHARS = 16
"""Shorter ones ("yes", "continue") come again for other reasons."""


class Conversation(Struct, frozen=True):
    """What is known of a conversation.

    Attributes:
        arm: the arm that answered last in it, or made the tool call; None where that is not known.
        tool_step: whether the request brings the result of a tool call that `arm` made.
        missed: whether Redis could not say.
        last: the last answer in the session, where it was looked up.
    """

    arm: ArmId | None = None
    tool_step: bool = False
    missed: bool = False
    last: LastAnswer | None = None

    def repeated(self, request: RequestContext, chat: ChatRequest, now: float) -> ArmId | None:
        """Return the arm whose recent answer to the same prompt was the last in the conversation; None for no such."""
        last = self.last
        if last is None or not last.prompt or now - last.answered_at > REPEATED_S or not _ends_with_user(chat):
            return None
        return last.arm if last.prompt == prompt_digest(request, chat) else None

    def saved_usd(self, price: Price | None, now: float) -> float:
        """Return what the prompt cache of the arm that answered last, at its list price, saves for the next answer."""
        last = self.last
        if last is None or price is None or now - last.answered_at > CACHE_S:
            return 0.0
        return price.saved_usd(last.cached_tokens)


NO_CONVERSATION = Conversation()


def prompt_digest(request: RequestContext, chat: ChatRequest) -> str:
    """Return a hash by which the same prompt is recognised within its session; "" where it has none, or is short."""
    text = chat.routing_text
    if request.session is None or len(text) < MIN_CHARS:
        return ""
    said = f"{request.session}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(said, digest_size=8).hexdigest()


def _ends_with_user(chat: ChatRequest) -> bool:
    """Return whether the user asks, in contrast to a step of a tool loop, whose last user message stays the same."""
    messages: Any = chat.body["messages"]
    return bool(messages[-1]["role"] == "user")


class Conversations:
    """Looks up which arm has a conversation; where Redis cannot say in time, no arm has."""

    def __init__(self, log: RequestLog, breaker: CircuitBreaker, *, timeout_s: float) -> None:
        self._requests = log
        self._breaker = breaker
        self._timeout_s = timeout_s

    async def find(self, request: RequestContext, calls: tuple[str, ...]) -> Conversation:
        """Return the arm that made one of the tool calls, else the one that answered last in the session."""
        if self._breaker.open:
            return Conversation(missed=True)
        try:
            async with asyncio.timeout(self._timeout_s):
                for key in calls:
                    last = await self._requests.last_answer(owner=request.owner, session=key)
                    if last is not None:
                        return Conversation(last.arm, tool_step=True)
                if request.session is None:
                    return NO_CONVERSATION
                last = await self._requests.last_answer(owner=request.owner, session=request.session)
                return NO_CONVERSATION if last is None else Conversation(last.arm, last=last)
        except (DependencyError, TimeoutError):
            return Conversation(missed=True)

"""The chat use case step by step, on a gateway of fakes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from services.gateway.app import Gateway
from services.gateway.chat.plan import ChatPlan
from services.gateway.chat.route_chat import Completed
from services.gateway.chat.selection import Choice
from services.gateway.chat.streaming import Begin, OpenStream
from services.gateway.request_context import RequestContext
from shared.schemas.chat import ChatRequest


async def route(chat: ChatRequest, request: RequestContext, gateway: Gateway) -> ChatPlan:
    """Decide which arms to call."""
    return await gateway.chat.route(request, chat)


async def consider(chat: ChatRequest, request: RequestContext, gateway: Gateway) -> Choice:
    """Choose without reserving anything."""
    return await gateway.selector.choose(request, chat, gateway.selector.candidates(chat))


async def complete(plan: ChatPlan, gateway: Gateway) -> Completed:
    """Return the answer of a plan, recorded."""
    return await gateway.chat.complete(plan)


def open_stream(plan: ChatPlan, gateway: Gateway, begin: Begin) -> AbstractAsyncContextManager[OpenStream]:
    """Open the streamed answer of a plan."""
    return gateway.chat.stream(plan, begin)

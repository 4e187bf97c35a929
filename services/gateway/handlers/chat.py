"""`POST /chat/completions` and `/v1/chat/completions`."""

from __future__ import annotations

from contextlib import aclosing

from aiohttp import web

from services.gateway.handlers.asking import read_chat
from services.gateway.keys import CHAT, LINE, LINKS, OWN_ID
from services.gateway.plan import ChatPorts, Plan
from services.gateway.route_chat import complete, route
from services.gateway.streaming import open_stream
from shared.bandit.arms import ArmId
from shared.bandit.decision import Decision

_EVENT_STREAM = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}


async def chat(request: web.Request) -> web.StreamResponse:
    """Route a chat completion, answer it, and have it recorded before the last byte leaves."""
    ports = request.app[CHAT]
    asked, asker = await read_chat(request)
    with ports.metrics.in_flight.track_inprogress():
        plan = await route(asked, asker, ports)
        if plan.chat.stream:
            return await _stream(request, plan, ports)
        done = await complete(plan, ports)
    outcome = done.served.outcome
    headers = _headers(request, done.served.decision, done.degraded, outcome.arm, outcome.overhead_s)
    headers["x-router-cost-usd"] = f"{outcome.cost_usd:.9f}"
    return web.Response(body=done.answer.body, content_type="application/json", headers=headers)


async def _stream(request: web.Request, plan: Plan, ports: ChatPorts) -> web.StreamResponse:
    response = web.StreamResponse(headers=_EVENT_STREAM)
    try:
        async with open_stream(plan, ports) as opened:
            decision, overhead_s = opened.decision, opened.journal.overhead_s
            response.headers.update(_headers(request, decision, decision.degraded, opened.arm, overhead_s))
            await response.prepare(request)
            async with aclosing(opened.frames()) as frames:
                async for frame in frames:
                    await response.write(frame)
            await response.write_eof()
    except ConnectionResetError:
        # The client is gone; leaving `open_stream` by the error stopped the upstream and wrote down what was spent.
        request[LINE]["error"] = "client_gone"
    return response


def _headers(
    request: web.Request, decision: Decision, degraded: tuple[str, ...], arm: ArmId, overhead_s: float
) -> dict[str, str]:
    headers = {
        "x-router-model": arm,
        "x-router-decision": decision.kind.value,
        "x-router-propensity": f"{decision.propensity:.6g}",
        "x-router-overhead-ms": f"{overhead_s * 1000:.2f}",
    }
    if degraded:
        headers["x-router-degraded"] = ",".join(degraded)
    if decision.session:
        headers["x-router-session"] = "held"
    if decision.exploration != "on":
        headers["x-router-exploration"] = decision.exploration
    link = request.app[LINKS].path(request[OWN_ID])
    if link is not None:
        headers["x-router-feedback-url"] = link
    return headers

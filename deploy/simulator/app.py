"""HTTP server of the simulator: routes, latency, and faults in the middle of a response."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from aiohttp import web

from deploy.simulator import wire
from deploy.simulator.account import NewAccount
from deploy.simulator.choices import Choice, choice_of
from deploy.simulator.dialects import DIALECTS, Translation
from deploy.simulator.faults import AT_RANDOM, HEADER, Fault, abort, parse_fault, respond_with
from deploy.simulator.judge import HEADER as JUDGE_HEADER
from deploy.simulator.judge import JUDGE, SimulatedJudge, fault_of, material_of, parse_behaviours
from deploy.simulator.models import Reply, SimulatedModel, World
from deploy.simulator.prompted_formats import text_of
from services.gateway.dialects.dialect import Dialect
from shared.bandit.variants import base_of

FIRST_TOKEN_SHARE = 0.3
"""Share of the latency before the first token of a stream."""
SLOW_S = 5.0
MAX_CHOICES = 128
SEEN = 256
MAX_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pace:
    """Speed and reliability.

    `speed` divides every latency, `failures` multiplies every failure rate, and `faults` is the share of calls with a
    random fault.
    """

    speed: float = 1.0
    failures: float = 1.0
    faults: float = 0.0


@dataclass(frozen=True, slots=True)
class _Work:
    """A parsed request, with the reply and the fault to send."""

    body: Mapping[str, Any]
    model: SimulatedModel
    reply: Reply
    choices: list[Choice]
    usage: dict[str, Any] | None
    fault: Fault
    latency_s: float
    translation: Translation | None = None

    @property
    def usage_asked(self) -> bool:
        return any(
            isinstance(options := self.body.get(name), dict) and options.get(flag) is True
            for name, flag in (("stream_options", "include_usage"), ("usage", "include"))
        )


class Simulator:
    """The simulator of one world.

    `rng` draws latencies and failures; `account` adds its list, limits and errors; `judge` is how rubric prompts are
    answered, as in `judge.py`.
    """

    def __init__(
        self, world: World, pace: Pace, rng: random.Random, account: NewAccount | None = None, judge: str = "exact"
    ) -> None:
        self._world = world
        self._models = world.models if account is not None else {**world.models, JUDGE.id: JUDGE}
        self._judge = SimulatedJudge(world, rng)
        self._judging = parse_behaviours(judge)
        self._pace = pace
        self._rng = rng
        self._account = account
        self._seen: deque[Any] = deque(maxlen=SEEN)

    def application(self) -> web.Application:
        """Return the aiohttp application, with every path at `/`, `/v1` and `/api/v1`."""
        app = web.Application(client_max_size=MAX_BODY)
        for prefix in ("", "/v1", "/api/v1"):
            app.router.add_post(f"{prefix}/chat/completions", self.chat)
            for path, dialect in DIALECTS.items():
                app.router.add_post(prefix + path, partial(self.chat, dialect=dialect))
            app.router.add_get(f"{prefix}/models", self.models)
        app.router.add_get("/health", self.health)
        app.router.add_get("/seen", self.seen)
        return app

    async def health(self, _request: web.Request) -> web.Response:
        """`GET /health`."""
        return web.json_response({"status": "ok", "simulated": True, "models": len(self._models)})

    async def seen(self, _request: web.Request) -> web.Response:
        """`GET /seen`: the last chat bodies, as a gateway sent them."""
        return web.json_response(list(self._seen))

    async def models(self, _request: web.Request) -> web.Response:
        """`GET /models`: the models with prices."""
        entries = [wire.listed(model) for model in self._models.values()]
        if self._account is not None:
            entries = [self._account.listed(entry) for entry in entries]
        return web.json_response({"data": entries})

    async def chat(self, request: web.Request, dialect: Dialect | None = None) -> web.StreamResponse:
        """`POST /chat/completions`, and the same in another dialect: reply, or fail as requested."""
        try:
            body = json.loads(await request.read())
            self._seen.append(body)
            translation = None if dialect is None else Translation(dialect, body)
            body = body if translation is None else translation.chat_body
            work = replace(self._parse(body, request.headers), translation=translation)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            return _refused(400, f"Invalid request: {error}")
        failure = work.model.can.error_for(body, work.reply.prompt_tokens)
        if failure is not None:
            return _refused(*failure)
        refusal = None if self._account is None else self._account.error_for(work.model)
        if refusal is not None:
            return refusal
        faulty = await respond_with(work.fault, request)
        if faulty is not None:
            return faulty
        if self._rng.random() < work.model.failure_rate * self._pace.failures:
            return _refused(429, f"{work.model.id} is temporarily rate-limited upstream")
        if work.fault.kind == "slow-first-token":
            await asyncio.sleep(SLOW_S if work.fault.seconds is None else work.fault.seconds)
        return await (self._stream(work, request) if work.body.get("stream") else self._whole(work, request))

    def _parse(self, body: Any, headers: Mapping[str, str]) -> _Work:
        name = body["model"]
        model = self._models.get(name) or self._models.get(base_of(name) or "")
        if model is None:
            raise ValueError(f"{name} is not a valid model ID")
        messages = body["messages"]
        prompt = _last_user_text(messages)
        characters = sum(len(text_of(message.get("content"))) for message in messages)
        material, fault = material_of(body), None
        if material is None:
            reply = self._world.reply(model, prompt, characters)
        else:
            judging = parse_behaviours(headers[JUDGE_HEADER]) if JUDGE_HEADER in headers else self._judging
            reply, fault = self._judge.reply(model, material, characters, judging), fault_of(judging)
        choices = [choice_of(body, reply.text)] * min(int(body.get("n") or 1), MAX_CHOICES)
        header = headers.get(HEADER)
        if not header and self._rng.random() < self._pace.faults:
            header = self._rng.choice(AT_RANDOM)
        fault = fault or parse_fault(header, model.id)
        usage = None if fault.kind == "no-usage" else wire.usage_of(reply, len(choices))
        latency_s = model.latency_s * math.exp(self._rng.gauss(0.0, 0.25)) / self._pace.speed
        return _Work(body, model, reply, choices, usage, fault, latency_s)

    async def _whole(self, work: _Work, request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(work.latency_s)
        if work.fault.kind == "error-200":
            return web.json_response(wire.error_body(502, "Simulated provider error"), headers=_headers(work))
        body = wire.completion(work.model, work.choices, work.usage, work.reply.quality)
        body = body if work.translation is None else work.translation.whole(body)
        if work.fault.kind not in {"cut", "cut-clean", "stall"}:
            return web.Response(body=body, content_type="application/json", headers=_headers(work))
        response = web.StreamResponse(headers=_headers(work) | {"content-type": "application/json"})
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if work.fault.kind == "stall":
            await asyncio.sleep(60.0 if work.fault.seconds is None else work.fault.seconds)
        return abort(request)

    async def _stream(self, work: _Work, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=_headers(work) | {"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": OPENROUTER PROCESSING\n\n")
        if work.fault.kind == "comments":
            for _ in range(math.ceil(SLOW_S if work.fault.seconds is None else work.fault.seconds)):
                await asyncio.sleep(1.0)
                await response.write(b": OPENROUTER PROCESSING\n\n")
        has_usage = work.usage_asked or work.translation is not None
        events = list(wire.chunks(work.model, work.choices, work.usage if has_usage else None))
        last = wire.DONE
        if work.translation is not None:
            *events, last = work.translation.events(events)
        await asyncio.sleep(work.latency_s * FIRST_TOKEN_SHARE)
        gap_s = work.latency_s * (1 - FIRST_TOKEN_SHARE) / len(events)
        for number, event in enumerate(events, start=1):
            await response.write(event)
            await asyncio.sleep(gap_s)
            if number == max(1, len(events) // 2) and await _interrupt(work.fault, request, response):
                return response
        await response.write(last)
        await response.write_eof()
        return response


async def _interrupt(fault: Fault, request: web.Request, response: web.StreamResponse) -> bool:
    """Apply the fault in the middle of a stream; return whether the stream has ended."""
    match fault.kind:
        case "cut":
            abort(request)
        case "cut-clean":
            await response.write_eof()
        case "error-200":
            await response.write(wire.event(wire.error_body(502, "Simulated provider error")))
            await response.write_eof()
        case "stall":
            await asyncio.sleep(60.0 if fault.seconds is None else fault.seconds)
            return False
        case _:
            return False
    return True


def _refused(status: int, message: str) -> web.Response:
    headers = {"retry-after": "1"} if status == 429 else {}
    return web.json_response(wire.error_body(status, message), status=status, headers=headers)


def _headers(work: _Work) -> dict[str, str]:
    return {"x-simulated-quality": f"{work.reply.quality:g}", "cache-control": "no-cache"}


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    return next((text_of(message["content"]) for message in reversed(messages) if message["role"] == "user"), "")

"""Reservations: ids and charges are reserved beside the decision, and released where it fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.gateway.app import Gateway
from services.gateway.chat.reservations import needs_reservation
from services.gateway.http.fast_chat import PlainHeaders
from services.gateway.request_context import RequestContext
from shared import tracing
from shared.errors import DependencyError, RateLimited
from shared.schemas.quota import Charge, Limits, Quota
from shared.schemas.storage import Verdict
from tests.support.fakes.gateway import World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, route

LIMITS = {"RATE_LIMIT_RPM": 60, "RATE_LIMIT_TPM": 100_000, "BUDGET_USD_PER_DAY": 1, "ASSUMED_GATEWAYS": 1}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(settings_for(tmp_path, **LIMITS))


async def left(gateway: Gateway, world: World) -> Quota:
    """What the key has, asked for nothing more than an id."""
    charge = gateway.quotas.charge("public", chat(max_tokens=1), ())
    assert charge is not None
    if not world.memory.away:
        return world.memory.quotas.look("public", charge, paid=True)
    quota = gateway.quotas.without_redis("public", charge)
    gateway.quotas.give_back("public", charge)
    return quota


@pytest.mark.parametrize("away", [False, True])
async def test_a_client_that_leaves_before_the_call_gets_its_charge_back(world: World, away: bool) -> None:
    """Id, request, tokens and money, with Redis and without; nothing is recorded, for nothing was asked."""
    async with world.gateway() as gateway:
        world.memory.away = away
        await left(gateway, world)
        before = await left(gateway, world)
        world.embedder.delay_s = 5.0
        leaving = asyncio.create_task(route(chat(), new_request("mine"), gateway))
        await asyncio.sleep(0.05)
        assert (await left(gateway, world)).spent > before.spent
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await gateway.reservations.settle()
        after = await left(gateway, world)
        assert (after.spent, after.limits) == (before.spent, before.limits)
        assert after.requests == pytest.approx(before.requests, abs=0.5)
        assert after.tokens == pytest.approx(before.tokens, abs=500)
        world.embedder.delay_s = 0.0
        await complete(await route(chat(), new_request("mine"), gateway), gateway)
    world.memory.away = False
    assert len(world.upstream.calls) == 1


async def test_a_claim_that_arrives_after_its_client_has_left_is_given_back(world: World) -> None:
    """The claim is on its way when the client goes: it is waited for, and undone."""
    async with world.gateway() as gateway:
        reserve, here = world.log.reserve, asyncio.Event()

        async def late(**claim: object) -> object:
            here.set()
            await asyncio.sleep(0.1)
            return await reserve(**claim)  # type: ignore[arg-type]  # passed on as they came

        world.log.reserve = late  # type: ignore[method-assign,assignment]  # a slow Redis
        leaving = asyncio.create_task(route(chat(), new_request("mine"), gateway))
        await here.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert gateway.reservations._releases
        await gateway.reservations.settle()
        assert ("public", "mine") not in world.memory.aliases


async def test_what_was_refused_has_nothing_to_give_back(world: World) -> None:
    """A request at its limit took nothing; neither Redis nor this gateway's share gets anything for it."""
    async with world.gateway() as gateway:
        gateway.quotas._default = Limits(requests=1)
        await route(chat(), new_request(), gateway)
        for away in (False, True):
            world.memory.away = away
            if away:
                await route(chat(), new_request(), gateway)
            for _ in range(3):
                with pytest.raises(RateLimited):
                    await route(chat(), new_request(), gateway)
                await gateway.reservations.settle()
        world.memory.away = False


async def test_the_embedder_gets_the_deadline_of_the_context(world: World) -> None:
    """Its own deadline, or the rest of the request's where that is shorter; without time nothing is called."""
    async with world.gateway() as gateway:
        await route(chat(), new_request(), gateway)
        assert world.embedder.within_s == world.settings.EMBED_TIMEOUT_MS / 1000
        late = new_request(started=world.clock.monotonic() - world.settings.REQUEST_TIMEOUT_S + 0.05)
        world.embedder.delay_s = 1.0
        began = world.clock.monotonic()
        plan = await route(chat(), late, gateway)
        assert world.clock.monotonic() - began < 0.9
        assert plan.gathered.degraded == ("embedder",)
        assert world.embedder.within_s is not None
        assert world.embedder.within_s <= 0.05
        asked = len(world.embedder.asked)
        too_late = new_request(started=world.clock.monotonic() - world.settings.REQUEST_TIMEOUT_S - 1)
        assert (await route(chat(), too_late, gateway)).gathered.degraded == ("embedder",)
        assert len(world.embedder.asked) == asked
        assert not gateway.context_gatherer.skips("embedder"), "that a request had no time is not the embedder's fault"


async def test_redis_lost_in_the_middle_leaves_the_claim(world: World) -> None:
    """Giving back fails quietly: the id and the charge stay, as after a crash, until their time is over."""
    async with world.gateway() as gateway:
        world.embedder.delay_s = 5.0
        leaving = asyncio.create_task(route(chat(), new_request("mine"), gateway))
        await asyncio.sleep(0.05)
        world.memory.away = True
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await gateway.reservations.settle()
        with pytest.raises(DependencyError):
            await world.log.find(owner="public", public_id="mine")
        world.memory.away = False
        assert ("public", "mine") in world.memory.aliases


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
async def test_a_clock_that_is_set_costs_nothing(world: World, step_s: float) -> None:
    """An hour back or ahead in the middle of a request: durations are what passed, and it can be rated (26)."""
    async with world.gateway() as gateway:
        plan = await route(chat(), new_request("mine"), gateway)
        world.clock.advance(step_s)
        outcome = (await complete(plan, gateway)).served.outcome
        assert 0 <= outcome.overhead_s < 60
        assert 0 <= outcome.upstream_s < 60
        for score in (0.5, 0.7):
            now = world.clock.now()
            verdict = await world.log.rate(owner="public", public_id="mine", score=score, text=None, now=now)
            assert verdict in (Verdict.ACCEPTED, Verdict.REVISED)
        assert (await left(gateway, world)).spent >= 0
        await complete(await route(chat(), new_request(), gateway), gateway)


@pytest.mark.parametrize(("sent", "stream", "needed"), [(None, False, False), (None, True, True), ("id", False, True)])
def test_what_is_reserved(*, sent: str | None, stream: bool, needed: bool) -> None:
    """An id of the client's, a charge, and every stream: its record comes late, and a rating may come before it."""
    trace = tracing.begin(tracing.IdTracer(), [], [], "own")
    request = RequestContext(PlainHeaders({}), 0.0, "own", sent, trace)
    assert needs_reservation(request, None, stream=stream) is needed
    assert needs_reservation(request, Charge(Limits(requests=1), 1, 1, "2026-01-01"), stream=False)

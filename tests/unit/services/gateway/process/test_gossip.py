"""Two gateways on one Redis: what one finds out, the other knows; and no rating is denied that may be right."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.gateway.app import Gateway
from services.gateway.process.gossip import SILENT_S, name_of
from services.gateway.records.record_writer import BEHIND_S
from shared.errors import DependencyError, NotFound, Scope, Unavailable, UpstreamError
from shared.resilience.upstream_circuits import ACCOUNT, CREDIT, FREE_LIMIT, CircuitBreakers
from shared.schemas.feedback import FeedbackRequest
from shared.schemas.storage import Verdict
from tests.support.fakes.chat_model import Reply
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.gateway import World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, route

BROKEN = UpstreamError("broke off", spent=True)


@pytest.fixture
async def both(world: World, tmp_path: Path) -> AsyncIterator[tuple[Gateway, Gateway]]:
    """Two gateways, each with a disk of its own."""
    neighbour = World(settings_for(tmp_path / "other", PORT=8099), clock=world.clock)
    neighbour.memory, neighbour.log, neighbour.heartbeats = world.memory, world.log, world.heartbeats
    async with world.gateway() as one, neighbour.gateway() as other:
        for gateway in (one, other):
            await gateway.gossip.exchange()
        yield one, other


async def rate(world: World, gateway: Gateway, public_id: str) -> Verdict:
    return await gateway.feedback.record(FeedbackRequest(public_id, 0.5, None), owner="public")


# -- circuits --------------------------------------------------------------------------------


async def test_a_circuit_that_one_gateway_opens_is_open_for_all(both: tuple[Gateway, Gateway]) -> None:
    """The second gateway does not call the arm without a failure of its own; both name the gateway that found out."""
    one, other = both
    for _ in range(5):
        one.circuit_breakers.failed("a/small", BROKEN)
    assert other.circuit_breakers.circuit("a/small") == "closed"
    await one.gossip.exchange()
    await other.gossip.exchange()
    assert other.circuit_breakers.circuit("a/small") == "open"
    assert other.circuit_breakers.available(("a/small", "b/middle")) == ("b/middle",)
    assert one.gossip.found_by() == other.gossip.found_by() == {"a/small": [one.gossip.name]}
    plans = [await route(chat(), new_request(), other) for _ in range(20)]
    assert "a/small" not in {plan.order[0] for plan in plans}


async def test_what_one_gateway_has_learned_of_a_limit_counts_for_all(both: tuple[Gateway, Gateway]) -> None:
    """The second gateway leaves the arm out of such requests without asking it, and of no others."""
    one, other = both
    asked = chat(response_format={"type": "json_object"})
    one.learned_limits.learn("a/small", "response_format", asked.requirements)
    await one.gossip.exchange()
    assert len((await route(asked, new_request(), other)).decision.views) == 3
    await other.gossip.exchange()
    decision = (await route(asked, new_request(), other)).decision
    assert decision.unfit == (("a/small", "response_format", "learned"),)
    assert {view.arm for view in decision.views} == {"b/middle", "c/large"}
    assert len((await route(chat(), new_request(), other)).decision.views) == 3


def test_a_gateway_that_heard_of_a_failure_probes_once_too() -> None:
    """After the cooldown one request tries; its success closes the circuit, whatever the other one still says."""
    clock = FakeClock()
    arms = CircuitBreakers(clock)
    for left_s in (5.0, 4.0, 3.0, 2.0, 1.0):
        arms.merge({"other": {"a": left_s}})
        assert arms.circuit("a") == "open"
        assert not arms.own_findings(), "what was heard is not said again: two would keep each other's circuit open"
        clock.advance(1.0)
    assert arms.circuit("a") == "half_open"
    assert [arms.begin(("a", "b")), arms.begin(("a", "b"))] == ["a", "b"]
    arms.succeeded("a")
    assert arms.circuit("a") == "closed"


def test_an_answer_here_outweighs_the_same_old_news() -> None:
    """A gateway that has lost its own way out does not take the arms from the others; a new finding counts again."""
    clock = FakeClock()
    arms = CircuitBreakers(clock)
    arms.merge({"cut off": {"a": 10.0, "b": 10.0}})
    assert arms.available(("a", "b")) == ("a", "b"), "where all rest, all are tried"
    arms.succeeded("a")
    for left_s in (9.0, 8.0):
        clock.advance(1.0)
        arms.merge({"cut off": {"a": left_s, "b": left_s}})
        assert (arms.circuit("a"), arms.circuit("b")) == ("closed", "open")
    clock.advance(8.0)
    arms.merge({"cut off": {"a": 20.0}})
    assert arms.circuit("a") == "open"


def test_a_refused_account_is_passed_on_as_well() -> None:
    """Key and credit, which all gateways share, each for itself; and the limit of the free models."""
    clock = FakeClock()
    one, other = CircuitBreakers(clock), CircuitBreakers(clock)
    for scope, name in ((Scope.KEY, ACCOUNT), (Scope.CREDIT, CREDIT)):
        for number, arm in enumerate("ab"):
            one.failed(arm, UpstreamError("no", scope=scope), request=f"{scope}-{number}")
        assert f"{name}@" in one.own_findings()
    one.failed("a:free", UpstreamError("no", status=429, cool_s=600.0, free_cap=True))
    assert set(one.own_findings()) == {f"{CREDIT}@", f"{FREE_LIMIT}@"}, (
        "a refusal of another kind says that the key is fine"
    )
    other.merge({"one": {ACCOUNT: 4.0, **one.own_findings()}})
    assert not other.account("a").key.breaker.allows()
    assert (other.cooldown_s("b:free"), other.cooldown_s("paid")) == (600.0, 5.0)
    assert other.own_findings() == {}, "what was heard is not said again"
    assert other.circuit("a") == "closed"
    other.succeeded("b:free")
    assert (other.cooldown_s("b:free"), other.cooldown_s("paid")) == (0.0, 5.0)


# -- ratings that come before their request ------------------------------------------------------------


async def test_a_rating_of_a_request_that_is_spooled_is_to_be_retried(
    world: World, both: tuple[Gateway, Gateway]
) -> None:
    """By the gateway that has it and by the other one; and once Redis has it, 202."""
    one, other = both
    world.memory.away = True
    await complete(await route(chat(), new_request("late"), one), one)
    world.memory.away = False
    await one.gossip.exchange()
    for gateway in both:
        with pytest.raises(Unavailable) as caught:
            await rate(world, gateway, "late")
        assert caught.value.retry_after_s
    await one.record_writer.replay()
    assert await rate(world, other, "late") is Verdict.ACCEPTED
    assert await rate(world, one, "late") is Verdict.DUPLICATE


async def test_a_rating_of_an_unreserved_answer_in_flight_is_to_be_retried(
    world: World, both: tuple[Gateway, Gateway]
) -> None:
    """The id could not be reserved in Redis, and the record is not written yet: only this gateway knows the request."""
    one, other = both
    world.memory.away = True
    plan = await route(chat(), new_request("early"), one)
    world.memory.away = False
    await one.gossip.exchange()
    for gateway in both:
        with pytest.raises(Unavailable):
            await rate(world, gateway, "early")
    one.record_writer._breaker.succeeded()
    await complete(plan, one)
    assert await rate(world, other, "early") is Verdict.ACCEPTED


async def test_a_request_that_no_gateway_can_have_is_not_found(world: World, both: tuple[Gateway, Gateway]) -> None:
    """An unknown id is 404 with both gateways, unless there was trouble a moment ago."""
    one, _ = both
    for gateway in both:
        with pytest.raises(NotFound):
            await rate(world, gateway, "never")
    one.record_writer._fell_behind()
    with pytest.raises(Unavailable):
        await rate(world, one, "never")
    one.record_writer._behind_until -= BEHIND_S
    with pytest.raises(NotFound):
        await rate(world, one, "never")


async def test_a_silent_gateway_may_have_an_unknown_request(world: World, both: tuple[Gateway, Gateway]) -> None:
    """It has lost Redis, or its life. One that left in peace, or is gone for a minute, is not waited for."""
    one, other = both
    world.clock.advance(SILENT_S + 1)
    with pytest.raises(Unavailable):
        await rate(world, other, "never")
    await one.gossip.leave()
    with pytest.raises(NotFound):
        await rate(world, other, "never")
    await one.gossip.exchange()
    world.clock.advance(61)
    with pytest.raises(NotFound):
        await rate(world, other, "never")


async def test_who_leaves_with_records_on_disk_says_so_to_the_end(world: World, both: tuple[Gateway, Gateway]) -> None:
    """Its notice stays until it fades, or until the next process of that place takes the disk over."""
    one, other = both
    world.memory.away = True
    await complete(await route(chat(), new_request("left-behind"), one), one)
    with pytest.raises(DependencyError):
        await one.gossip.exchange()
    world.memory.away = False
    await one.gossip.exchange()
    await one.gossip.leave()
    with pytest.raises(Unavailable):
        await rate(world, other, "left-behind")
    await one.record_writer.replay()


async def test_while_notices_cannot_be_read_no_rating_gets_404(world: World, both: tuple[Gateway, Gateway]) -> None:
    """Doubt is not a 404."""
    one, _ = both
    answered = world.log.rate

    async def rate_and_go(**terms: object) -> Verdict:
        verdict = await answered(**terms)  # type: ignore[arg-type]  # passed on as they came
        world.memory.away = True
        return verdict

    world.log.rate = rate_and_go  # type: ignore[method-assign]  # Redis goes in between
    with pytest.raises(Unavailable):
        await rate(world, one, "never")
    world.memory.away = False


def test_a_name_stays_and_tells_nothing_of_the_machine() -> None:
    """The same after a restart, another one for another port; no host name goes out in /health."""
    assert name_of(8080) == name_of(8080) != name_of(8081)
    assert name_of(8080).startswith("gateway-")


async def test_nothing_is_kept_of_requests_that_ended(world: World) -> None:
    """What is unclaimed is forgotten with its record, however it ends."""
    async with world.gateway() as gateway:
        world.memory.away = True
        await complete(await route(chat(), new_request(), gateway), gateway)
        world.upstream.default = Reply(delay_s=5.0)
        leaving = asyncio.create_task(complete(await route(chat(), new_request(), gateway), gateway))
        await asyncio.sleep(0.05)
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        await gateway.record_writer.flush(1.0)
        assert not gateway.record_writer._unclaimed
        world.memory.away = False
        await gateway.record_writer.replay()

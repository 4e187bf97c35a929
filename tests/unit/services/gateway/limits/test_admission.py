"""Admission: never more than the limit, no place lost, a bounded queue, and immediate refusals."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.gateway.limits import places as places_module
from services.gateway.limits.admission import LEAST_DECIDING, Admission, BodyBytes
from services.gateway.limits.places import BURST, MOST_FREED, QUEUE_S
from shared.clock import SystemClock
from shared.errors import ClientError, RateLimited, Unavailable
from shared.metrics import GatewayMetrics
from tests.support.fakes.gateway import new_request


@asynccontextmanager
async def place(places: Admission, owner: str) -> AsyncIterator[None]:
    await places.enter(owner)
    try:
        yield
    finally:
        places.leave(owner)


def admission(limit: int, per_key: int = 0) -> Admission:
    return Admission(
        limit=limit, per_key=per_key, decide_s=0.1, clock=SystemClock(), metrics=GatewayMetrics(CollectorRegistry())
    )


async def visit(places: Admission, owner: str, seconds: float) -> str:
    try:
        async with place(places, owner):
            await asyncio.sleep(seconds)
            return "served"
    except ClientError as error:
        return error.code


async def test_the_metrics_show_how_many_are_being_served() -> None:
    """Between `enter` and `leave`, and the limit beside it."""
    registry = CollectorRegistry()
    places = Admission(limit=3, per_key=0, decide_s=0.1, clock=SystemClock(), metrics=GatewayMetrics(registry))
    async with place(places, "a"), place(places, "b"):
        assert registry.get_sample_value("llm_router_in_flight_requests") == 2
    assert registry.get_sample_value("llm_router_in_flight_requests") == 0
    assert registry.get_sample_value("llm_router_concurrency_limit") == 3


async def test_beyond_the_limit_the_first_waits_and_the_others_are_refused_immediately() -> None:
    """Where no place comes free, one request waits for QUEUE_S, the others are refused without delay."""
    places = admission(2)
    holders = [asyncio.create_task(visit(places, "a", 1.0)) for _ in range(2)]
    await asyncio.sleep(0)
    waiter = asyncio.create_task(visit(places, "a", 0))
    await asyncio.sleep(0)
    started = time.perf_counter()
    refusals = [await visit(places, "a", 0) for _ in range(100)]
    assert set(refusals) == {"overloaded"}
    assert (time.perf_counter() - started) / 100 < 0.005
    assert await waiter == "overloaded"
    assert time.perf_counter() - started >= QUEUE_S * 0.9
    for holder in holders:
        holder.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await holder
    assert await visit(places, "a", 0) == "served"


async def test_a_moving_queue_is_joined_in_order() -> None:
    """Places that keep coming free let as many wait, first come first served."""
    places = admission(4)
    assert {await visit(places, "a", 0) for _ in range(8)} == {"served"}
    order: list[int] = []

    async def one(number: int) -> None:
        async with place(places, "a"):
            order.append(number)
            await asyncio.sleep(0)  # others come meanwhile; a pause by the clock could be longer than one may wait

    await asyncio.gather(*(one(number) for number in range(8)))
    assert order == list(range(8))


async def test_one_key_cannot_take_every_place() -> None:
    """The key at its limit is refused at once; another one is served (row 52)."""
    places = admission(4, per_key=3)
    greedy = [asyncio.create_task(visit(places, "greedy", 0.5)) for _ in range(50)]
    await asyncio.sleep(0.01)
    assert await visit(places, "modest", 0) == "served"
    with pytest.raises(RateLimited) as caught:
        async with place(places, "greedy"):
            pass
    assert caught.value.retry_after_s
    results = await asyncio.gather(*greedy)
    assert (results.count("served"), results.count("too_many_concurrent_requests")) == (3, 47)


async def test_nothing_is_kept_of_keys_without_a_request_in_flight() -> None:
    """Any number of keys may come and go: memory does not grow with them."""
    places = admission(1, per_key=1)
    for _ in range(MOST_FREED + 1):  # what is remembered of freed places is bounded
        await visit(places, "first", 0)
    tracemalloc.start()
    try:
        for number in range(2000):
            assert await visit(places, f"key {number}", 0) == "served"
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 100_000


async def test_what_could_not_be_decided_in_time_is_refused_before_its_body_is_read() -> None:
    """While all places of deciding requests are taken and their queue is full; then it is served again."""
    places = admission(100)
    for _ in range(LEAST_DECIDING):
        await places.deciding.take()
    assert await visit(places, "a", 0) == "served"
    waiting = [asyncio.create_task(places.deciding.take()) for _ in range(BURST)]
    await asyncio.sleep(0)
    assert await visit(places, "a", 0) == "overloaded"
    places.deciding.free()
    await waiting[0]
    assert await visit(places, "a", 0) == "served"
    for _ in waiting:
        places.deciding.free()
    await asyncio.gather(*waiting)


def test_bytes_of_a_body_are_released_once() -> None:
    """The gauge comes back to 0, and there is room for as much as the limit and no more."""
    registry = CollectorRegistry()
    held = BodyBytes(1_000_000, GatewayMetrics(registry))
    first, second = new_request(), new_request()
    held.hold(first, 900_000)
    with pytest.raises(Unavailable):
        held.hold(second, 900_000)
    for _ in range(2):
        held.release(first)
    assert registry.get_sample_value("llm_router_bytes_in_work") == 0
    held.hold(second, 900_000)
    assert registry.get_sample_value("llm_router_bytes_in_work") == 900_000


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop whose timers are due as soon as nothing else is: what a test draws happens exactly so."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        super().__init__(_Skipping(self))

    def time(self) -> float:
        """Return the time that has been skipped."""
        return self.elapsed_s


class _Skipping(selectors.SelectSelector):
    """Waits for nothing: the loop's time goes on instead."""

    def __init__(self, loop: VirtualTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.elapsed_s += timeout or 0.0
        return super().select(0)


MOMENTS = st.integers(0, 4).map(lambda number: number * QUEUE_S / 4)
"""Few and equal ones, so that places come free, waits end and clients leave in the same moment."""
VISITS = st.lists(st.tuples(st.sampled_from("abc"), MOMENTS, MOMENTS, st.none() | MOMENTS), max_size=20)


@settings(max_examples=300, deadline=None)
@given(VISITS)
def test_no_place_is_lost_whenever_a_request_leaves(visits: list[tuple[str, float, float, float | None]]) -> None:
    """Visitors that come, wait, are refused or are cancelled at any moment leave every place free."""

    async def run() -> None:
        loop, inside, most = asyncio.get_running_loop(), 0, 0
        clock = Mock(monotonic=loop.time)
        places = Admission(limit=2, per_key=2, decide_s=0.1, clock=clock, metrics=GatewayMetrics(CollectorRegistry()))

        async def one(owner: str, delay: float, stay: float) -> None:
            nonlocal inside, most
            await asyncio.sleep(delay)
            async with place(places, owner):
                inside += 1
                most = max(most, inside)
                try:
                    await asyncio.sleep(stay)
                finally:
                    inside -= 1

        async def leave(task: asyncio.Task[None], after_s: float) -> None:
            await asyncio.sleep(after_s)  # woken as those inside are: a place may be handed on just before
            task.cancel()

        tasks, leaving = list[asyncio.Task[None]](), list[asyncio.Task[None]]()
        for owner, delay, stay, leaves in visits:
            tasks.append(asyncio.create_task(one(owner, delay, stay)))
            if leaves is not None:
                leaving.append(asyncio.create_task(leave(tasks[-1], leaves)))
        await asyncio.gather(*tasks, *leaving, return_exceptions=True)
        assert inside == 0
        assert most <= 2
        served = [visit(places, "abc"[number], 1.0) for number in range(2)]  # every place can be taken again
        assert await asyncio.gather(*served) == ["served", "served"]
        assert await asyncio.gather(*(visit(places, "a", 1.0) for _ in range(2))) == ["served", "served"]

    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        runner.run(run())


async def test_a_late_event_loop_alone_refuses_no_request() -> None:
    """Below the limit every request is served, however slow the machine is: no timer changes the limit."""
    places = admission(64)
    visits = [asyncio.create_task(visit(places, "a", 0.02)) for _ in range(60)]
    for _ in range(5):
        await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 - the loop is to be late
    visits += [asyncio.create_task(visit(places, "a", 0)) for _ in range(4)]
    assert set(await asyncio.gather(*visits)) == {"served"}


@pytest.mark.parametrize("waiting", [1, 8])
async def test_waiting_is_bounded_by_the_time_of_the_queue(waiting: int) -> None:
    """A request that waits in vain is refused after QUEUE_S, not later, with the time to retry."""
    places = admission(8)
    for _ in range(16):  # what came free lately is why they may wait
        assert await visit(places, "a", 0) == "served"
    holders = [asyncio.create_task(visit(places, "a", 5)) for _ in range(8)]
    await asyncio.sleep(0)

    async def wait() -> float:
        started = time.perf_counter()
        with pytest.raises(Unavailable) as caught:
            async with place(places, "b"):
                pass
        assert caught.value.retry_after_s
        return time.perf_counter() - started

    async def tick() -> float:
        started = time.perf_counter()
        await asyncio.sleep(QUEUE_S)
        return time.perf_counter() - started

    timer = asyncio.create_task(tick())
    waits = await asyncio.gather(*(wait() for _ in range(waiting)))
    assert min(waits) >= QUEUE_S * 0.9
    assert max(waits) <= await timer + 0.02, "later than any timer of this machine"
    for holder in holders:
        holder.cancel()
    await asyncio.gather(*holders, return_exceptions=True)


async def test_no_more_requests_queue_than_will_get_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four places were freed lately, so two may wait; the third is refused at once, not after a wait."""
    monkeypatch.setattr(places_module, "QUEUE_S", 5.0)
    places = admission(1)
    for _ in range(4):
        async with place(places, "a"):
            pass
    await places.enter("a")
    waiting = [asyncio.create_task(places.enter("a")) for _ in range(2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        with pytest.raises(Unavailable):
            await places.enter("a")
    for task in waiting:
        places.leave("a")
        await task
    places.leave("a")

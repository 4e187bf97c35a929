"""Concurrent reservations: they go to Redis in one write, and each has its own result."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from shared.errors import DependencyError
from shared.resilience.coalescer import PIPELINED, Coalescer
from shared.schemas.storage import Reservation
from shared.settings import Settings
from shared.storage.redis_connection import connect
from shared.storage.redis_requests import RedisRequestLog
from tests.support.fakes.clock import FakeClock
from tests.support.redis_rig import redis_rig


async def test_of_a_crowd_that_claims_one_id_one_gets_it(redis_server: str) -> None:
    """Beside claims of other ids, which all succeed."""
    async with redis_rig(redis_server) as rig:
        one = [rig.log.reserve(owner="me", public_id="same", own_id=f"a{n}") for n in range(20)]
        others = [rig.log.reserve(owner="me", public_id=f"p{n}", own_id=f"b{n}") for n in range(20)]
        claims = await asyncio.gather(*one, *others)
    assert Counter(claim.reservation for claim in claims[:20]) == {Reservation.NEW: 1, Reservation.TAKEN: 19}
    assert {claim.reservation for claim in claims[20:]} == {Reservation.NEW}


async def test_a_cancelled_caller_does_not_affect_others(redis_server: str) -> None:
    """A client that leaves costs those nothing whose claims went out with its own."""
    async with redis_rig(redis_server) as rig:
        claims = [
            asyncio.create_task(rig.log.reserve(owner="me", public_id=f"p{n}", own_id=f"a{n}")) for n in range(10)
        ]
        await asyncio.sleep(0)
        claims[3].cancel()
        done = await asyncio.gather(*claims, return_exceptions=True)
    assert isinstance(done.pop(3), asyncio.CancelledError)
    assert {claim.reservation for claim in done if not isinstance(claim, BaseException)} == {Reservation.NEW}
    assert len(done) == 9


async def test_a_failure_reaches_every_caller(unused_tcp_port: int) -> None:
    """No caller waits for an answer that cannot come."""
    client = connect(Settings(REDIS_URL=f"redis://127.0.0.1:{unused_tcp_port}/0"))
    log = RedisRequestLog(client, window_s=60.0, clock=FakeClock())
    claims = [log.reserve(owner="me", public_id=f"q{n}", own_id=f"a{n}") for n in range(5)]
    done = await asyncio.wait_for(asyncio.gather(*claims, return_exceptions=True), 5)
    assert [type(one) for one in done] == [DependencyError] * 5


async def test_who_leaves_while_a_batch_is_under_way_is_not_sent() -> None:
    """A reservation without a waiting caller would stay taken."""
    sent: list[str] = []
    go = asyncio.Event()

    async def slow(names: Sequence[str], _within_s: float) -> list[str]:
        sent.extend(names)
        await go.wait()
        return list(names)

    pipelined = Coalescer[str, str]("redis", slow, most=100, pace=PIPELINED)
    first, second, third = (asyncio.create_task(pipelined.submit(name)) for name in ("first", "second", "third"))
    await asyncio.sleep(0.01)
    late = asyncio.create_task(pipelined.submit("late"))
    gone = asyncio.create_task(pipelined.submit("gone"))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0)
    go.set()
    assert list(await asyncio.gather(first, second, third, late)) == ["first", "second", "third", "late"]
    assert sent == ["first", "second", "third", "late"]


async def test_a_client_that_leaves_does_not_stop_the_call() -> None:
    """Reservations go out by one connection: a call that is given up would cost it, and those of others with it."""
    go, done = asyncio.Event(), asyncio.Event()

    async def slow(names: Sequence[str], _within_s: float) -> list[str]:
        await go.wait()
        done.set()
        return list(names)

    pipelined = Coalescer[str, str]("redis", slow, most=100, pace=PIPELINED)
    gone = asyncio.create_task(pipelined.submit("gone"))
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait_for(done.wait(), 1)


async def test_one_damaged_value_fails_its_own_request_alone() -> None:
    """The others of the same write have their results."""

    async def mixed(names: Sequence[str], _within_s: float) -> list[str | DependencyError]:
        return [DependencyError("redis", "damaged") if name == "bad" else name for name in names]

    pipelined = Coalescer[str, str]("redis", mixed, most=100, pace=PIPELINED)
    good, bad = (asyncio.create_task(pipelined.submit(name)) for name in ("good", "bad"))
    assert await good == "good"
    with pytest.raises(DependencyError, match="damaged"):
        await bad

"""Contract of `Heartbeats`, on the fake and on Redis."""

from __future__ import annotations

import pytest

from shared.schemas.storage import LearnedLimit, Notice
from tests.support.redis_rig import Rig


async def test_a_worker_that_beats_is_alive(rig: Rig) -> None:
    """None at first; then each worker with its version; the latest version counts."""
    assert dict(await rig.heartbeats.alive()) == {}
    await rig.heartbeats.beat("one", "1.0", 5)
    await rig.heartbeats.beat("two", "1.0", 5)
    await rig.heartbeats.beat("two", "1.1", 5)
    assert dict(await rig.heartbeats.alive()) == {"one": "1.0", "two": "1.1"}


async def test_a_worker_that_stops_beating_is_gone(rig: Rig) -> None:
    """Only the silent one, and it may come back."""
    await rig.heartbeats.beat("silent", "1", 0.03)
    await rig.heartbeats.beat("steady", "1", 5)
    await rig.pass_time(0.05)
    assert dict(await rig.heartbeats.alive()) == {"steady": "1"}
    await rig.heartbeats.beat("silent", "2", 5)
    assert dict(await rig.heartbeats.alive()) == {"silent": "2", "steady": "1"}


async def test_gateways_hear_one_another_and_not_themselves(rig: Rig) -> None:
    """The last notice of each counts, cooldowns go on while it is on its way, and a gateway that leaves is silent."""
    assert dict(await rig.heartbeats.exchange("one", Notice({"a/small": 9.0}), 60)) == {}
    await rig.heartbeats.exchange("one", Notice({"b/large": 50.0, "c/brief": 0.01}, behind=True), 60)
    await rig.pass_time(0.1)
    heard = await rig.heartbeats.exchange("two", Notice({}), 60)
    assert list(heard) == ["one"]
    assert heard["one"].behind
    assert 0.05 < heard["one"].age_s < 10
    assert list(heard["one"].rests) == ["b/large"], "the other one's cooldown is over"
    assert heard["one"].rests["b/large"] == pytest.approx(50 - heard["one"].age_s)
    assert not (await rig.heartbeats.exchange("one", None, 60))["two"].behind
    assert dict(await rig.heartbeats.exchange("two", Notice({}), 60)) == {}


async def test_learned_limits_go_along(rig: Rig) -> None:
    """They go on while they are on the way, and end; a gateway of an earlier version says nothing of them."""
    limits = (LearnedLimit("a/small", "context", 3600.0, 8000), LearnedLimit("b/brief", "tools", 0.01))
    await rig.heartbeats.exchange("one", Notice({}, limits=limits), 60)
    await rig.pass_time(0.1)
    heard = (await rig.heartbeats.exchange("two", Notice({}), 60))["one"]
    (limit,) = heard.limits
    assert (limit.arm, limit.feature, limit.tokens) == ("a/small", "context", 8000)
    assert limit.lasts_s == pytest.approx(3600 - heard.age_s)
    if rig.raw is not None:
        now = int((await rig.raw.time())[0]) * 1000
        await rig.raw.hset("{router}:notices", "older", f'{now} {{"rests": {{"a": 9}}, "behind": false}}')
        older = (await rig.heartbeats.exchange("two", Notice({}), 60))["older"]
        assert (list(older.rests), older.limits) == (["a"], ())


async def test_a_notice_fades(rig: Rig) -> None:
    """Of a gateway that died, nothing is left after the time."""
    await rig.heartbeats.exchange("dead", Notice({"a/small": 60.0}, behind=True), 60)
    await rig.pass_time(0.05)
    assert "dead" in await rig.heartbeats.exchange("living", Notice({}), 60)
    assert dict(await rig.heartbeats.exchange("living", Notice({}), 0.01)) == {}


async def test_a_notice_that_cannot_be_read_says_nothing(rig: Rig) -> None:
    """Another version's, or a damaged one: neither an error nor a cooldown."""
    if rig.raw is None:
        pytest.skip("only Redis holds what others wrote")
    now = int((await rig.raw.time())[0]) * 1000
    for name, raw in (("newer", f"{now} [1]"), ("odd", f'{now} {{"rests": {{"a": "x"}}}}'), ("torn", "{")):
        await rig.raw.hset("{router}:notices", name, raw)
    heard = await rig.heartbeats.exchange("me", Notice({}), 60)
    assert {name: dict(notice.rests) for name, notice in heard.items()} == {"newer": {}, "odd": {}}

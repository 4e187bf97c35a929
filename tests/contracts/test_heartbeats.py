"""What every `Heartbeats` promises."""

from __future__ import annotations

from tests.contracts.redis_rig import Rig


async def test_whoever_beats_lives(rig: Rig) -> None:
    """Nobody at first; each worker with its version; the latest version counts."""
    assert dict(await rig.heartbeats.alive()) == {}
    await rig.heartbeats.beat("one", "1.0", 5)
    await rig.heartbeats.beat("two", "1.0", 5)
    await rig.heartbeats.beat("two", "1.1", 5)
    assert dict(await rig.heartbeats.alive()) == {"one": "1.0", "two": "1.1"}


async def test_whoever_stops_beating_is_gone(rig: Rig) -> None:
    """Only the silent one, and it may come back."""
    await rig.heartbeats.beat("silent", "1", 0.03)
    await rig.heartbeats.beat("steady", "1", 5)
    await rig.pass_time(0.05)
    assert dict(await rig.heartbeats.alive()) == {"steady": "1"}
    await rig.heartbeats.beat("silent", "2", 5)
    assert dict(await rig.heartbeats.alive()) == {"silent": "2", "steady": "1"}

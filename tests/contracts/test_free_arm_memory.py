"""Contract of `FreeArmMemory`, on the fake and on Redis."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import CorruptState
from tests.support.redis_rig import Rig


async def test_a_choice_replaces_the_one_that_was_read(rig: Rig) -> None:
    """Nothing at first; what is written reads back in its order, and may become nothing again."""
    memory = rig.free_arms
    assert await memory.read() == ()
    assert await memory.replace((), ("b/large", "a/small:free"))
    assert await memory.read() == ("b/large", "a/small:free")
    assert await memory.replace(("b/large", "a/small:free"), ())
    assert await memory.read() == ()


async def test_of_two_gateways_that_choose_at_the_same_time_one_wins(rig: Rig) -> None:
    """A gateway that has read an older choice writes nothing."""
    done = await asyncio.gather(rig.free_arms.replace((), ("a",)), rig.free_arms.replace((), ("b",)))
    assert sorted(done) == [False, True]
    assert await rig.free_arms.read() in {("a",), ("b",)}
    assert not await rig.free_arms.replace(("c",), ("d",))


@pytest.mark.parametrize("text", ["a  b", " ", "a\nb", "ü", b"\xff", " ".join("abcdefgh" * 9)])
async def test_a_damaged_choice_is_refused(rig: Rig, text: str | bytes) -> None:
    """A name that no model can have, or too many of them."""
    if rig.raw is None:
        pytest.skip("only Redis holds what others wrote")
    await rig.raw.set("{router}:free-arms", text)
    with pytest.raises(CorruptState):
        await rig.free_arms.read()
    await rig.raw.delete("{router}:free-arms")
    await rig.raw.hset("{router}:free-arms", "a", "1")
    with pytest.raises(CorruptState):
        await rig.free_arms.read()

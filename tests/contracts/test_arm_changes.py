"""Contract of `ArmChanges`, on the fake and on Redis."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import CorruptState, DependencyError
from tests.support.redis_rig import Rig


async def test_the_last_word_on_each_model_counts(rig: Rig) -> None:
    """Nothing at first; added, taken out, added again; the same again changes nothing."""
    changes = rig.arm_changes
    assert dict(await changes.read()) == {}
    for _ in range(2):
        await changes.add("a/small:free")
        assert await changes.remove("b/large", ["a/small:free"])
        assert dict(await changes.read()) == {"a/small:free": True, "b/large": False}
    await changes.add("b/large")
    assert await changes.remove("a/small:free", ["b/large"])
    assert dict(await changes.read()) == {"a/small:free": False, "b/large": True}


async def test_the_last_model_stays(rig: Rig) -> None:
    """Without another one, or with others that are all removed, nothing is done; an unmentioned one is present."""
    changes = rig.arm_changes
    assert not await changes.remove("a", [])
    assert await changes.remove("b", ["a", "c"])
    assert await changes.remove("c", ["b", "a"])
    assert not await changes.remove("a", ["b", "c"])
    assert dict(await changes.read()) == {"b": False, "c": False}


async def test_of_two_removals_of_the_last_two_one_is_refused(rig: Rig) -> None:
    """Each of two gateways believes that the other's model is left; what is judged is what is there."""
    removed = await asyncio.gather(rig.arm_changes.remove("a", ["b"]), rig.arm_changes.remove("b", ["a"]))
    assert sorted(removed) == [False, True]


@pytest.mark.parametrize(
    ("name", "word"),
    [("a", "2"), ("a", ""), ("a", "yes"), ("", "1"), ("a b", "1"), ("a\n", "0"), ("ü", "1"), (b"\xff", "1")],
)
async def test_damage_is_refused_as_a_whole(rig: Rig, name: str | bytes, word: str) -> None:
    """A word that is none, or a name that no model can have: half a list is not guessed at."""
    if rig.raw is None:
        pytest.skip("only Redis holds what others wrote")
    await rig.arm_changes.add("good")
    await rig.raw.hset("{router}:arms", name, word)
    with pytest.raises(CorruptState):
        await rig.arm_changes.read()


async def test_a_key_of_another_kind_is_damage_too(rig: Rig) -> None:
    """Read it is refused; written it is an error, and stays as it was."""
    if rig.raw is None:
        pytest.skip("only Redis holds what others wrote")
    await rig.raw.set("{router}:arms", "a")
    with pytest.raises(CorruptState):
        await rig.arm_changes.read()
    with pytest.raises(DependencyError):
        await rig.arm_changes.add("a")
    assert await rig.raw.get("{router}:arms") == b"a"

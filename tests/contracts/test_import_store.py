"""Contract of `ImportStore`, with the stores that keep the kinds and contributions of imports, on fake and Redis."""

from __future__ import annotations

import pytest

from shared.bandit.sources import Source
from shared.schemas.events import Event, EventKind
from shared.schemas.imports import Import, ImportedAnswer, StoredImport
from shared.schemas.storage import Applied, Assignment, Effect
from shared.storage import redis_keys
from tests.support.kinds import some_kinds
from tests.support.redis_rig import Rig
from tests.support.sample_records import ARM, own_id


def an_import(rig: Rig, **answers: float) -> Import:
    scores = {arm: ImportedAnswer(score, 1.5, 0.25, 10, 20) for arm, score in (answers or {ARM: 0.5}).items()}
    return Import(own_id(rig.clock.now()), Source.EVAL, rig.clock.now(), "test-4", 0.5, scores, ("json",))


async def stored_ids(rig: Rig) -> list[str]:
    return sorted([one async for some in rig.imports.all_ids() for one in some])


async def test_an_import_is_stored_and_replaced_with_what_was_learned_from_it(rig: Rig) -> None:
    """Every field comes back; replacing it keeps kind and contribution. An unknown id is None."""
    first, other = an_import(rig), an_import(rig)
    await rig.imports.put([first, other])
    await rig.imports.put([])
    assert await rig.imports.load([]) == []
    loaded = await rig.imports.load([first.id, own_id(rig.clock.now())])
    assert [one and one.record for one in loaded] == [first, None]
    assert await stored_ids(rig) == sorted([first.id, other.id])
    assert await rig.import_kinds.save(None, some_kinds(10), {first.id: Assignment((1, 3), 10)})
    effect = Effect(Event("0-1", EventKind.FEEDBACK, first.id, 1), ARM, first.created_at, {"labels_milli:eval": 500})
    assert await rig.import_posteriors.apply([effect, effect]) == [Applied.APPLIED, Applied.REPLAYED]
    changed = an_import(rig, **{ARM: 0.25, "other/model": 1.0})
    changed = Import(first.id, changed.source, first.created_at, "test-4", 1.0, changed.answers)
    await rig.imports.put([changed])
    (one,) = await rig.imports.load([first.id])
    assert one is not None
    learned = (one.record, one.assigned, one.revision, one.sums)
    assert learned == (changed, Assignment((1, 3), 10), 1, {"labels_milli:eval": 500})
    assert (await rig.posteriors.load()).arms[ARM].sources[Source.EVAL].total.labels == 0.5


async def test_an_import_is_no_request_and_no_request_is_an_import(rig: Rig) -> None:
    """Learning from one does not find the other, so that neither can be applied under the other's name."""
    one = an_import(rig)
    await rig.imports.put([one])
    assert await rig.log.load([one.id]) == [None]
    assert await rig.imports.load([own_id(rig.clock.now())]) == [None]
    assert await rig.log.find(owner=None, public_id=one.id) is None


async def test_an_import_expires_when_it_no_longer_counts(rig: Rig) -> None:
    """By its own time, however late it was imported."""
    if rig.raw is None:
        pytest.skip("in the fake nothing expires")
    one = an_import(rig)
    await rig.imports.put([one])
    ends_ms = await rig.raw.pexpiretime(redis_keys.imported(one.id))
    assert ends_ms == pytest.approx((one.created_at + 8 * 30 * 86_400) * 1000, abs=1)


async def test_a_damaged_import_is_unknown(rig: Rig) -> None:
    """One that is no hash, and one that cannot be read."""
    if rig.raw is None:
        pytest.skip("the fake is not damaged")
    first, second = own_id(rig.clock.now()), own_id(rig.clock.now())
    await rig.raw.set(redis_keys.imported(first), "x")
    await rig.raw.hset(redis_keys.imported(second), mapping={"record": b'{"id":3}', "kind": "1.2:3"})
    nothing: list[StoredImport | None] = [None, None]
    assert await rig.imports.load([first, second]) == nothing

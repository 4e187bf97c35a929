"""The account after a trial: it agrees with what learners do, and fails on one rating too many or too few."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deploy.audit import SCRIPT, Tally, different, tallies
from shared.bandit.arms import Arm
from shared.bandit.build import build_policy
from shared.bandit.policy import BanditSettings
from shared.storage import redis_keys
from tests.integration.test_learner_redis import rated
from tests.support.learning import a_learner
from tests.support.redis_rig import Rig, redis_rig


@pytest.fixture
async def rig(redis_server: str) -> AsyncIterator[Rig]:
    async with redis_rig(redis_server) as real:
        yield real


async def account(rig: Rig) -> tuple[Tally, Tally]:
    return tallies([line.decode() for line in await rig.raw.eval(SCRIPT, 0)])


async def test_sums_are_the_ledgers_for_every_model_that_answered(rig: Rig) -> None:
    """Over midnight, and for a model that is never chosen: both have the same sums, on the same day."""
    for arm in ("vendor/chosen", "vendor/last-resort"):
        await rated(rig, arm)
    rig.clock.advance(86_400)
    await rated(rig, "vendor/chosen")
    await a_learner(rig).drain()
    sums, ledgers = await account(rig)
    assert different(sums, ledgers) == []
    counts = {(arm, day): number for (arm, day, field), number in sums.items() if field == "labels"}
    assert sorted(number for (arm, _), number in counts.items() if arm == "vendor/chosen") == [1, 1]
    assert sum(number for (arm, _), number in counts.items() if arm == "vendor/last-resort") == 1


async def test_arms_shows_fewer_where_a_last_resort_was_rated(rig: Rig) -> None:
    """A rating of DEFAULT_MODEL is in ledger and sums, and not in `/arms`, where the router does not choose from it."""
    for arm in ("vendor/chosen", "vendor/last-resort"):
        await rated(rig, arm)
    await a_learner(rig).drain()
    shown = build_policy(BanditSettings()).fit(await rig.posteriors.load(), (Arm("vendor/chosen"),)).summary()
    sums, _ = await account(rig)
    assert sum(number for (_, _, field), number in sums.items() if field == "labels") == 2
    assert [(summary.arm, summary.labels) for summary in shown] == [("vendor/chosen", 1.0)]


@pytest.mark.parametrize("by", [1, -1])
async def test_one_too_many_or_too_few_is_reported(rig: Rig, by: int) -> None:
    """A rating that counts twice, or not at all, is a difference in its model, its day and its field."""
    await rated(rig)
    await a_learner(rig).drain()
    (key,) = [key async for key in rig.raw.scan_iter(redis_keys.SUMS + "*")]
    await rig.raw.hincrby(key, "labels", by)
    (difference,) = different(*await account(rig))
    assert f"labels: {1 + by} in the sums, 1 in the ledgers" in difference

"""Which requests search for neighbours."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from shared.bandit.context import Neighbour
from tests.support.fakes.gateway import World, chat, new_request
from tests.support.fakes.use_cases import route


async def test_while_neighbours_do_not_predict_a_few_requests_search_for_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says which, so that nobody takes an empty list for a new prompt; the vector is stored either way."""
    searched = 0
    neighbours = world.index.neighbours

    async def counted(*args: Any, **facts: Any) -> tuple[Neighbour, ...]:
        nonlocal searched
        searched += 1
        return await neighbours(*args, **facts)

    async with world.gateway() as gateway:
        monkeypatch.setattr(world.index, "neighbours", counted)
        snapshot = gateway.posteriors.snapshot
        assert snapshot is not None
        for share in (0.0, 0.5):
            posterior = dataclasses.replace(snapshot.posterior, search_share=share)
            gateway.posteriors.snapshot = dataclasses.replace(snapshot, posterior=posterior)
            plans = [await route(chat(), new_request(), gateway) for _ in range(30)]
            assert sum(plan.decision.searched is True for plan in plans) == searched
            assert searched == 0 if share == 0.0 else 0 < searched < 30
            assert all(plan.gathered.context.vector is not None and not plan.decision.degraded for plan in plans)

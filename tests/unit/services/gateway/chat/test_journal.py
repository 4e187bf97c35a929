"""The journal of a request's calls."""

from __future__ import annotations

from services.gateway.chat.journal import Journal
from shared.errors import UpstreamError
from tests.support.fakes.gateway import World, asker, chat
from tests.support.fakes.use_cases import route


async def test_our_own_time_ends_with_the_first_call(world: World) -> None:
    """What failed calls take is not ours."""
    async with world.gateway() as ports:
        plan = await route(chat(), asker(), ports)
        journal = Journal(plan, world.clock)
        assert journal.begin()
        overhead_s = journal.overhead_s
        assert overhead_s > 0
        journal.failed(UpstreamError("refused"), 0.0)
        assert not journal.begin()
        assert journal.overhead_s == overhead_s

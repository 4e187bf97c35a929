"""Requests without an id of the client: they need no reservation."""

from __future__ import annotations

from pathlib import Path

from tests.support.fakes.gateway import World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, route


async def test_an_id_of_our_own_needs_no_claim_and_redis_is_missed_by_its_record(tmp_path: Path) -> None:
    """No other request can have it, nor rate it before the answer; a stream shows it earlier, so it is reserved."""
    world = World(settings_for(tmp_path))
    async with world.gateway() as gateway:
        await route(chat(), new_request(), gateway)
        assert not world.memory.aliases
        await route(chat(stream=True), new_request(), gateway)
        assert len(world.memory.aliases) == 1
        world.memory.away = True
        done = await complete(await route(chat(), new_request(), gateway), gateway)
        assert done.degraded == ("redis",)
        world.memory.away = False
        await gateway.record_writer.replay()
        assert len(world.records) == 1
        assert (await complete(await route(chat(), new_request(), gateway), gateway)).degraded == ()

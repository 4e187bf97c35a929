"""Context of a prompt: the search for neighbours, and which dependency a missed deadline counts against."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes.gateway import World, chat, new_request, settings_for
from tests.support.fakes.use_cases import complete, route

PROMPT = "My secret is 4242. " * 5


async def test_recency_days_bound_the_neighbours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is asked for requests of the last RECENCY_DAYS, no older and no younger."""
    world.settings = world.settings.model_copy(update={"RECENCY_DAYS": 3})
    world.learn_a_rating()
    asked: list[dict[str, Any]] = []
    find = world.index.neighbours

    async def neighbours(vector: Any, **wanted: Any) -> Any:
        asked.append(wanted)
        return await find(vector, **wanted)

    async with world.gateway() as gateway:
        monkeypatch.setattr(world.index, "neighbours", neighbours)
        await route(chat(), new_request(), gateway)
    (wanted,) = asked
    assert wanted["since"] == pytest.approx(world.clock.now() - 3 * 86_400, abs=1)
    assert wanted["limit"] == world.settings.MAX_SIMILAR_REQUESTS
    assert wanted["threshold"] == world.settings.SIMILARITY_THRESHOLD


@pytest.mark.parametrize("blamed", [True, False])
async def test_a_breaker_is_opened_by_late_answers_and_not_by_requests_without_time(world: World, blamed: bool) -> None:
    """Requests whose own deadline is nearer than the embedder's say nothing of the embedder."""
    world.settings = world.settings.model_copy(update={"EMBED_TIMEOUT_MS": 60})
    async with world.gateway() as gateway:
        world.embedder.delay_s = 60.0
        for _ in range(8):
            left_s = 10.0 if blamed else 0.045
            gathered = await gateway.context_gatherer.gather(
                "text", with_neighbours=False, deadline=time.monotonic() + left_s
            )
            assert gathered.degraded == ("embedder",)
        assert gateway.context_gatherer.skips("embedder") is blamed


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"STORE_PROMPTS": "false", "ENABLE_PERSISTENCE": "true"}, None),
        ({"STORE_PROMPTS": "true", "ENABLE_PERSISTENCE": "false"}, None),
        ({"STORE_PROMPTS": "true", "ENABLE_PERSISTENCE": "true", "EMBED_MAX_CHARS": "64"}, PROMPT[:64]),
    ],
)
async def test_a_prompt_is_kept_only_where_the_settings_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], kept: str | None
) -> None:
    """Neither beside the record, nor in it."""
    world = World(settings_for(tmp_path / "spool", **settings))
    entries: list[Any] = []
    record = world.log.record

    async def recorded(some: Any) -> None:
        entries.extend(some)
        await record(some)

    monkeypatch.setattr(world.log, "record", recorded)
    async with world.gateway() as gateway:
        await complete(await route(chat(PROMPT), new_request(), gateway), gateway)
    (entry,) = entries
    assert entry.prompt == kept
    assert b"secre" not in entry.record.to_json()

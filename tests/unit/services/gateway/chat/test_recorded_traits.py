"""Traits of a request in its record."""

from __future__ import annotations

import pytest

from shared.bandit.shape import shape_of
from shared.errors import DependencyError
from shared.schemas.similarity_hash import similarity_hash
from tests.support.fakes.gateway import World, chat, new_request
from tests.support.fakes.use_cases import complete, route


@pytest.mark.parametrize("broken", ["nothing", "embedder", "qdrant"])
async def test_the_traits_of_a_request_are_recorded_and_its_system_prompt_is_not(world: World, broken: str) -> None:
    """Whatever of the context is missing; of the user's text the shape is."""
    async with world.gateway() as gateway:
        world.embedder.error = DependencyError("embedder", "away") if broken == "embedder" else None
        world.index.available = broken != "qdrant"
        system, question = {"role": "system", "content": "Answer as a pirate."}, {"role": "user", "content": "Hello"}
        for messages in ([system, question], [question]):
            await complete(await route(chat(messages=messages), new_request(), gateway), gateway)
        first, second = world.records
    shape = f"shape:{shape_of('Hello')}"
    assert first.traits == (f"system:{similarity_hash('Answer as a pirate.')}", shape)
    assert second.traits == (shape,)
    assert b"pirate" not in first.to_json()

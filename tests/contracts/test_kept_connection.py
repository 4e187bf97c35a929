"""Kept connection to Redis: it does not block others between its commands, and loses no reply."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import pytest

from shared.settings import Settings
from shared.storage.redis_connection import RECORDS_AT_ONCE, Damaged, KeptConnection, answers_of, connect


class Counted(KeptConnection):
    """Remembers how many commands went out together."""

    pieces: list[int]

    async def _some(self, commands: Sequence[Sequence[str | bytes | int | float]]) -> list[Any]:
        self.pieces.append(len(commands))
        return await super()._some(commands)


@pytest.mark.parametrize(
    ("options", "commands", "pieces"),
    [
        ({}, 20, [8, 8, 4]),
        ({}, 256, [32] * 8),  # a backlog: an eighth of it
        ({"at_once": RECORDS_AT_ONCE}, 20, [20]),
    ],
)
async def test_commands_go_out_some_at_a_time(
    redis_url: str, options: dict[str, int], commands: int, pieces: list[int]
) -> None:
    """And are answered in their order."""
    async with connect(Settings(REDIS_URL=redis_url)) as client:
        kept = Counted(client, **options)
        kept.pieces = []
        asked = [("ECHO", str(number)) for number in range(commands)]
        assert await kept.run(asked) == [text.encode() for _, text in asked]
        assert kept.pieces == pieces
        await kept._connection.disconnect()


async def test_a_cancelled_command_leaves_no_answer_to_the_next(redis_url: str) -> None:
    """Its answer would be read as that of another command."""
    async with connect(Settings(REDIS_URL=redis_url)) as client:
        kept = KeptConnection(client)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kept.run([("BLPOP", secrets.token_hex(8), "0.2")]), 0.05)
        assert await kept.run([("ECHO", "mine")]) == [b"mine"]
        await kept._connection.disconnect()


async def test_one_damaged_value_does_not_fail_the_others(redis_url: str) -> None:
    """Its place among the answers says so, by a kept connection and by a pipeline."""
    async with connect(Settings(REDIS_URL=redis_url)) as client:
        kept, pipeline = KeptConnection(client), client.pipeline(transaction=False)
        key = secrets.token_hex(8)
        commands = [("SET", key, "text", "PX", "10000"), ("HGET", key, "field"), ("ECHO", "on")]
        for command in commands:
            pipeline.execute_command(*command)
        for stored, damaged, echoed in (await kept.run(commands), await answers_of(pipeline)):
            assert stored in (b"OK", True)
            assert isinstance(damaged, Damaged)
            assert echoed == b"on"
        await kept._connection.disconnect()

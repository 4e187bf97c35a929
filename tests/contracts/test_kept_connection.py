"""A kept connection leaves Redis to others between its commands, and loses no answer by that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from shared.settings import Settings
from shared.storage.redis_connection import RECORDS_AT_ONCE, KeptConnection, connect


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

"""`PromptStore` on the history in PostgreSQL. Imported only if prompts are stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import psycopg

from shared.errors import DependencyError
from shared.settings import Settings
from shared.storage.postgres_history import address

TIMEOUT_S = 2.0

_PROMPTS = """SELECT id::text, prompt FROM requests
    WHERE id = ANY(%s::uuid[]) AND prompt IS NOT NULL AND (%s::text IS NULL OR owner = %s)"""


class PostgresPrompts:
    """Reads prompts over a connection of each call: operators read them now and then."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def texts(self, own_ids: Sequence[str], *, owner: str | None) -> Mapping[str, str]:
        """Return the stored texts by own id."""
        if not own_ids:
            return {}
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                # Behind a transaction pooler the next transaction may run on a server that has prepared nothing.
                await psycopg.AsyncConnection.connect(
                    address(self._settings), autocommit=True, prepare_threshold=None
                ) as connection,
            ):
                cursor = await connection.execute(_PROMPTS, (list(own_ids), owner, owner))
                return dict(await cursor.fetchall())
        except (psycopg.Error, OSError, TimeoutError) as error:
            # The server's own words may quote what was sent.
            raise DependencyError("postgres", type(error).__name__) from error

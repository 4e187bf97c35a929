"""`ImportHistory` on PostgreSQL. Imported only if persistence is enabled."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from psycopg import sql
from psycopg.types.json import Jsonb

from shared.schemas.imports import Import, StoredImport
from shared.schemas.storage import Assignment
from shared.storage.postgres_history import PostgresHistory

COLUMNS = (
    "id", "source", "created_s", "weight", "answers", "traits", "embedding_model", "vector", "cluster_epoch", "cluster",
    "assigned",
)  # fmt: skip

_REPLACED = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in COLUMNS if name != "vector"]
_WRITE = sql.SQL(
    "INSERT INTO imports ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}, "
    "vector = COALESCE(EXCLUDED.vector, imports.vector)"
).format(
    sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
    sql.SQL(", ").join([sql.Placeholder()] * len(COLUMNS)),
    sql.SQL(", ").join(_REPLACED),
)
_PAGE = "SELECT * FROM imports WHERE created_s >= %s AND (created_s, id) > (%s, %s) ORDER BY created_s, id LIMIT %s"
_FIRST = "00000000-0000-0000-0000-000000000000"


class PostgresImports:
    """`ImportHistory` on the connections of a history."""

    def __init__(self, history: PostgresHistory) -> None:
        self._history = history

    async def write(self, imports: Sequence[StoredImport]) -> None:
        """Store a batch in one transaction, in a fixed order: two writers in different orders would deadlock."""
        rows = [_row(one) for one in sorted(imports, key=lambda one: one.record.id)]
        async with self._history.connection() as connection, connection.transaction(), connection.cursor() as cursor:
            await cursor.executemany(_WRITE, rows)

    async def read(self, *, since: float, batch: int = 500) -> AsyncIterator[list[StoredImport]]:
        """Yield imports by time, one page per transaction."""
        place: tuple[float, Any] = (since, _FIRST)
        while True:
            async with self._history.connection() as connection:
                page = await (await connection.execute(_PAGE, [since, *place, batch])).fetchall()
            if not page:
                return
            yield [_past(row) for row in page]
            place = (page[-1]["created_s"], page[-1]["id"])


def _row(one: StoredImport) -> Sequence[Any]:
    record, assigned = one.record, one.assigned
    kind = (None, None) if assigned is None else assigned.kind
    vector = None if one.vector is None else np.asarray(one.vector, dtype="<f4").tobytes()
    answers = Jsonb(msgspec.to_builtins(record.answers))
    return (
        uuid.UUID(record.id), record.source.value, record.created_at, record.weight, answers, list(record.traits),
        record.embedding_model, vector, *kind, None if assigned is None else assigned.order,
    )  # fmt: skip


def _past(row: Mapping[str, Any]) -> StoredImport:
    fields = {name: row[name] for name in ("source", "weight", "answers", "traits", "embedding_model")}
    record = msgspec.convert({**fields, "id": str(row["id"]), "created_at": row["created_s"]}, Import)
    vector = row["vector"]
    assigned = None
    if row["assigned"] is not None:
        assigned = Assignment((row["cluster_epoch"], row["cluster"]), row["assigned"])
    return StoredImport(
        record, None if vector is None else np.frombuffer(vector, dtype="<f4").astype(np.float32, copy=False), assigned
    )

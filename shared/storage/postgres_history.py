"""`History` on PostgreSQL. Imported only if persistence is enabled."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from shared.bandit.kinds import Kinds
from shared.errors import DependencyError, SettingsError
from shared.schemas.history import OldClusters, PastAssignment, PastRequest, Waiting
from shared.schemas.records import RequestRecord
from shared.settings import Settings
from shared.storage.postgres_kinds import kinds_row, past_assignment, past_kinds
from shared.storage.postgres_migrations import migrate
from shared.storage.postgres_rows import Row, batch_json, past_request
from shared.storage.postgres_statements import (
    AGAIN,
    ASSIGNED,
    INSERT,
    KINDS_KEPT,
    OLD_KINDS,
    ONCE,
    ORDERS,
    PAGE,
    SAVE_KINDS,
    SOME,
)

CONNECT_S = 4
_MAX_CONNECTIONS = 4

_KEEP_ALIVE = {"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3, "tcp_user_timeout": 15_000}
"""TCP keep-alive, so that a server that has vanished without closing is noticed."""

_WRONG_SERVER = ("08", "25", "26", "28", "57")
"""SQLSTATE classes of connection problems, not of the statement: among them 25006 (standby), 57P01 (restart) and 26000
(a statement prepared on another connection)."""

_REASONS = {
    "25006": "it is read-only: a standby, perhaps",
    "53100": "its disk is full",
    "53300": "it has too many connections",
    "57P01": "it is shutting down",
    "57P03": "it is starting or stopping",
}

_REFUSED = (psycopg.DataError, psycopg.IntegrityError, ValueError, OverflowError)
"""Errors of the rows, not of the database."""

_FIRST = "00000000-0000-0000-0000-000000000000"


def address(settings: Settings) -> str:
    """Return libpq's connection string. DATABASE_URL overrides the other settings. Raises SettingsError."""
    password = settings.DATABASE_PASSWORD
    parts: dict[str, Any] = {
        "host": settings.DATABASE_HOST,
        "port": settings.DATABASE_PORT,
        "user": settings.DATABASE_USER,
        "password": None if password is None else password.get_secret_value(),
        "dbname": settings.DATABASE_NAME,
    }
    if settings.DATABASE_URL is not None:
        try:
            parts = conninfo_to_dict(settings.DATABASE_URL.get_secret_value())
        except psycopg.ProgrammingError:
            # Not chained: the message may hold a piece of the password.
            raise SettingsError(
                "DATABASE_URL: not an address such as postgresql://user:password@host:5432/name"
            ) from None
    own = {"sslmode": settings.DATABASE_SSL_MODE, "connect_timeout": CONNECT_S, "application_name": "llm-router"}
    own |= _KEEP_ALIVE
    return make_conninfo("", **(own | parts))


class PostgresHistory:
    """`History` on a small pool of connections. Nothing is sent before the first call; close it at the end."""

    def __init__(self, settings: Settings, *, timeout_s: float = 10.0) -> None:
        """Take the time that one call may take. Raises SettingsError."""
        self._timeout_s = timeout_s
        self._pool = AsyncConnectionPool[AsyncConnection[dict[str, Any]]](
            address(settings),
            # Behind a transaction pooler the next transaction may run on a server that has prepared nothing.
            kwargs={"row_factory": dict_row, "prepare_threshold": None},
            min_size=0,
            max_size=_MAX_CONNECTIONS,
            open=False,
            timeout=CONNECT_S + 1.0,
            reconnect_timeout=0.5,  # one attempt: callers retry by themselves
            max_idle=60.0,
            configure=self._configure,
            check=AsyncConnectionPool.check_connection,
            name="history",
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close(timeout=2.0)

    async def _configure(self, connection: AsyncConnection[dict[str, Any]]) -> None:
        """Let the server end a transaction whose client has vanished, which would keep its locks for hours."""
        await connection.execute(f"SET idle_in_transaction_session_timeout = {round(2000 * self._timeout_s)}".encode())
        await connection.commit()

    async def prepare(self) -> None:
        """Create or change the tables."""
        async with self.connection() as connection:
            await migrate(connection)

    async def ping(self) -> str:
        """Return the version of a server that takes writes."""
        async with self.connection() as connection:
            cursor = await connection.execute("SELECT current_setting('transaction_read_only') AS read_only")
            row = await cursor.fetchone()
            if row is not None and row["read_only"] == "on":
                raise psycopg.errors.ReadOnlySqlTransaction
            return str(connection.info.parameter_status("server_version") or connection.info.server_version)

    async def write(self, entries: Sequence[Waiting]) -> list[Waiting]:
        """Store a batch in one transaction; if it is refused, entry by entry."""
        try:
            await self._write(entries)
        except _REFUSED:
            return [entry for entry in entries if await self._refuses(entry)]
        return []

    async def _refuses(self, entry: Waiting) -> bool:
        try:
            await self._write([entry])
        except _REFUSED:
            return True
        return False

    async def _write(self, entries: Sequence[Waiting]) -> None:
        tables = batch_json(entries)
        async with self.connection() as connection, connection.transaction(), connection.cursor() as cursor:
            for table, rows in tables.items():
                await cursor.execute(INSERT[table] + AGAIN.get(table, ONCE), [rows])

    async def read(self, *, since: float, batch: int = 500) -> AsyncIterator[list[PastRequest]]:
        """Yield requests by time, one page per transaction, so that a long read holds no snapshot."""
        place: tuple[float, Any] = (since, _FIRST)
        while True:
            async with self.connection() as connection:
                page = await (await connection.execute(PAGE, [since, *place, batch])).fetchall()
                past = await _past(connection, page)
            if not page:
                return
            yield past
            place = (page[-1]["created_s"], page[-1]["id"])

    async def records(self, own_ids: Sequence[str]) -> Mapping[str, RequestRecord]:
        """Return the records of these requests (`RecordArchive`)."""
        async with self.connection() as connection:
            page = await (await connection.execute(SOME, [list(own_ids)])).fetchall()
            past = await _past(connection, page)
        return {one.entry.record.id: one.entry.record for one in past}

    async def count(self, *, since: float) -> int:
        """Return the number of requests."""
        async with self.connection() as connection:
            row = await (
                await connection.execute("SELECT count(*) AS n FROM requests WHERE created_s >= %s", [since])
            ).fetchone()
        return 0 if row is None else int(row["n"])

    async def save_settings(self, settings_hash: str, content: Mapping[str, object]) -> None:
        """Store what a hash stands for."""
        async with self.connection() as connection:
            await connection.execute(
                "INSERT INTO settings (hash, content) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [settings_hash, Jsonb(dict(content))],
            )

    async def save_kinds(self, kinds: Kinds) -> None:
        """Insert a snapshot, and delete all but the newest few."""
        async with self.connection() as connection, connection.transaction():
            await connection.execute(SAVE_KINDS, kinds_row(kinds))
            await connection.execute(OLD_KINDS, [KINDS_KEPT])

    async def kinds(self) -> Kinds | None:
        """Return the snapshot of the largest order."""
        async with self.connection() as connection:
            cursor = await connection.execute("SELECT * FROM kinds ORDER BY place DESC LIMIT 1")
            row = await cursor.fetchone()
        return None if row is None else past_kinds(row)

    async def assignments(self, *, after: int, batch: int = 500) -> AsyncIterator[list[PastAssignment]]:
        """Yield assignments by order, one page per transaction."""
        while True:
            async with self.connection() as connection:
                page = await (await connection.execute(ASSIGNED, {"after": after, "batch": batch})).fetchall()
            if not page:
                return
            yield [past_assignment(row) for row in page]
            after = page[-1]["assigned"]

    async def old_clusters(self) -> OldClusters | None:
        """Return the cluster centres that were stored last."""
        async with self.connection() as connection:
            cursor = await connection.execute("SELECT * FROM centroids ORDER BY fitted_at DESC, epoch DESC LIMIT 1")
            row = await cursor.fetchone()
        if row is None:
            return None
        centres = np.frombuffer(row["centres"], dtype="<f4").reshape(-1, row["dimension"])
        return OldClusters(row["epoch"], centres.astype(np.float32, copy=False))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[dict[str, Any]]]:
        """Lend a connection; whatever PostgreSQL or its socket does becomes DependencyError, but for refused rows.

        Where it speaks of the connection, all connections are dropped: the others lead to the same server.
        """
        with _errors():
            if self._pool.closed:
                await self._pool.open()
            try:
                async with asyncio.timeout(self._timeout_s), self._pool.connection() as connection:
                    yield connection
            except (psycopg.Error, OSError, TimeoutError) as error:
                if (getattr(error, "sqlstate", None) or "08").startswith(_WRONG_SERVER):
                    await self._pool.drain()
                raise


async def _past(connection: AsyncConnection[dict[str, Any]], page: Sequence[Row]) -> list[PastRequest]:
    """Return requests, with their rows of all tables."""
    ids = [row["id"] for row in page]
    tables = {table: await _by_request(connection, table, ids) for table in ORDERS} if ids else {}
    return [
        past_request(row, {table: rows[own_id] for table, rows in tables.items()})
        for own_id, row in zip(ids, page, strict=True)
    ]


async def _by_request(
    connection: AsyncConnection[dict[str, Any]], table: str, ids: Sequence[Any]
) -> Mapping[Any, list[Row]]:
    query = sql.SQL("SELECT * FROM {} WHERE request_id = ANY(%s) ORDER BY {}").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, ORDERS[table]))
    )
    found: dict[Any, list[Row]] = defaultdict(list)
    async for row in await connection.execute(query, [ids]):
        found[row["request_id"]].append(row)
    return found


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except _REFUSED:
        raise
    except (psycopg.Error, OSError, TimeoutError) as error:
        # The server's own words may quote what was sent; its code says enough.
        code = getattr(error, "sqlstate", None)
        if isinstance(error, TimeoutError | PoolTimeout):
            reason = "no connection, or no answer in time"
        else:
            reason = _REASONS.get(code or "", "") or " ".join(filter(None, (type(error).__name__, code)))
        raise DependencyError(
            "postgres", " ".join(filter(None, (type(error).__name__, code))), reason=reason
        ) from error

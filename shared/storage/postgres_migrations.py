"""Migrations of the tables: `migrations/NNNN_name.sql`, each once, in order, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from psycopg import AsyncConnection

FOLDER = Path(__file__).with_name("migrations")

LOCK = 0x11_4D_52_6F_75_74_65_72
"""Advisory lock: one process migrates, others wait. An arbitrary number."""

_VERSIONS = """CREATE TABLE IF NOT EXISTS schema_versions (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)"""


def migrations(folder: Path = FOLDER) -> list[tuple[int, str, str]]:
    """Return (version, name, SQL) of every migration, in order."""
    found = [(path.stem.partition("_"), path) for path in sorted(folder.glob("*.sql"))]
    return [(int(number), name, path.read_text(encoding="utf-8")) for (number, _, name), path in found]


async def migrate(
    connection: AsyncConnection[object], steps: Iterable[tuple[int, str, str]] | None = None
) -> list[int]:
    """Apply pending migrations and return their versions. Waits while another process migrates."""
    applied = []
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        await connection.execute(_VERSIONS)
        for version, name, sql in migrations() if steps is None else steps:
            known = await connection.execute("SELECT 1 FROM schema_versions WHERE version = %s", [version])
            if await known.fetchone() is not None:
                continue
            await connection.execute(sql)
            await connection.execute("INSERT INTO schema_versions (version, name) VALUES (%s, %s)", [version, name])
            applied.append(version)
    return applied

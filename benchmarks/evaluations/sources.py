"""Sources of a log: a file written by `python -m services.learner export`, or PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson

from benchmarks.evaluations.log import LogReader
from shared.command_names import as_typed
from shared.schemas.records import RequestRecord
from shared.settings import Settings, load_settings
from shared.storage.postgres_history import PostgresHistory

Progress = Callable[[int, int], None]
TIMEOUT_S = 60.0


def read_file(path: Path, progress: Progress) -> LogReader:
    """Read an exported file. Raises ValueError for an invalid line, and OSError."""
    reader, done, total = LogReader(), 0, path.stat().st_size
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                score = orjson.loads(line)["score"]
                reader.add(RequestRecord.from_json(line), None if score is None else float(score))
            except (ValueError, KeyError, TypeError) as error:
                export = as_typed("python -m services.learner export")
                what = f"{path.name}, line {number}: not a request as `{export}` writes it"
                raise ValueError(what) from error
            done += len(line)
            progress(done, total)
    return reader


def read_database(url: str, progress: Progress) -> LogReader:
    """Read the history; empty `url`: that of the settings. Raises SettingsError, DependencyError."""
    settings = load_settings({"DATABASE_URL": url}, None) if url else load_settings()
    return asyncio.run(_read_database(settings, progress))


async def _read_database(settings: Settings, progress: Progress) -> LogReader:
    reader, done = LogReader(), 0
    history = PostgresHistory(settings, timeout_s=TIMEOUT_S)
    try:
        total = await history.count(since=0.0)
        async for page in history.read(since=0.0):
            for past in page:
                reader.add(past.entry.record, None if past.rating is None else past.rating.score)
            done += len(page)
            progress(done, max(total, done))
    finally:
        await history.close()
    return reader

"""When the local engine goes to the disk: with its log often, with everything seldom, for that keeps all waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.qdrant_engine import collection, files
from deploy.qdrant_engine.collection import Collection
from deploy.qdrant_engine.problems import ApiProblem
from deploy.qdrant_engine.writes import Change


class Shard:
    """An engine's shard that counts its flushes."""

    def __init__(self) -> None:
        self.flushes = 0

    def info(self) -> SimpleNamespace:
        return SimpleNamespace(points_count=0, indexed_vectors_count=0)

    def update(self, operation: object) -> None:
        pass

    def flush(self) -> None:
        self.flushes += 1


async def test_the_log_goes_to_the_disk_often_and_everything_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log when something was written, the rest once a minute or after many points; nothing for nothing."""
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_log", synced.append)
    shard, passed = Shard(), SimpleNamespace(s=1000.0)
    monkeypatch.setattr(collection, "time", SimpleNamespace(monotonic=lambda: passed.s))
    with ThreadPoolExecutor(1) as thread:
        kept = Collection(tmp_path, files.Description("c", 4, "Cosine", "shard-1"), shard, thread)
        await kept.maintain()
        assert (len(synced), shard.flushes) == (0, 0)
        await kept.write([Change(None, 1)])
        await kept.maintain()
        assert (synced, shard.flushes) == ([tmp_path / "shard-1"], 0)
        passed.s += collection.FLUSH_S
        await kept.maintain()
        assert (len(synced), shard.flushes) == (2, 1)
        await kept.write([Change(None, collection.FLUSH_AFTER)])
        assert shard.flushes == 2


async def test_a_nearly_full_disk_refuses_writes_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine maps its files: written on a full disk, they would end the process."""
    shard, usage = Shard(), SimpleNamespace(free=collection.LEAST_FREE_BYTES - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    with ThreadPoolExecutor(1) as thread:
        kept = Collection(tmp_path, files.Description("c", 4, "Cosine", "shard-1"), shard, thread)
        with pytest.raises(ApiProblem, match="No space left on device"):
            await kept.write([Change(None, 1)])
        usage.free = collection.LEAST_FREE_BYTES
        assert await kept.write([Change(None, 1)]) == 1

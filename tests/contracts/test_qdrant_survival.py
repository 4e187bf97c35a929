"""Durability of the local Qdrant engine: acknowledged writes survive a kill."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException

from deploy.local.servers import Server, free_port, qdrant_command, running
from deploy.qdrant_engine import files
from deploy.qdrant_engine.collections import Collections
from deploy.qdrant_engine.writes import upsert
from tests.contracts.qdrant_rig import LABELLED, SIZE, VECTORS


def write_until_refused(url: str, acknowledged: list[int], first: int) -> None:
    """Upsert one point after the other, and give every third a label afterwards; note what was acknowledged."""
    client = QdrantClient(url=url, check_compatibility=False)
    try:
        for number in range(first, first + 100_000):
            point = models.PointStruct(id=number, vector=[1, number % 97, 2, 3], payload={"at": number})
            client.upsert("kept", [point], wait=True)
            if number % 3 == 0:
                point.payload = {"at": number, "labelled": True}
                client.upsert("kept", [point], wait=True)
            acknowledged.append(number)
    except ApiException:
        client.close()


def check_kept(url: str, acknowledged: list[int], in_flight: int) -> None:
    client = QdrantClient(url=url, check_compatibility=False)
    stored = {each.id: each.payload or {} for each in client.scroll("kept", limit=100_000)[0]}
    assert set(acknowledged) <= set(stored)
    assert all(stored[number].get("labelled") is (True if number % 3 == 0 else None) for number in acknowledged)
    # An unacknowledged write may be there or not; there is at most one of each writer and kill.
    assert len(stored) <= len(acknowledged) + in_flight
    labelled = client.count("kept", models.Filter(must=[LABELLED])).count
    assert labelled == sum("labelled" in payload for payload in stored.values())
    described = client.get_collection("kept")
    assert described.config.params.vectors == VECTORS
    assert set(described.payload_schema) == {"labelled", "at"}
    client.close()


def test_every_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    """Killed three times in the middle of two writers' work, the engine has every acknowledged write each time."""
    port = free_port()
    url, acknowledged = f"http://127.0.0.1:{port}", list[int]()
    server = Server("qdrant", qdrant_command(port, tmp_path / "data"), tmp_path / "log")
    with running(server, port):
        with contextlib.closing(QdrantClient(url=url, check_compatibility=False)) as client:
            client.create_collection("kept", VECTORS)
            client.create_payload_index("kept", "labelled", models.PayloadSchemaType.BOOL)
            client.create_payload_index("kept", "at", models.PayloadSchemaType.INTEGER)
        for life in range(3):
            writers = [
                threading.Thread(
                    target=write_until_refused, args=(url, acknowledged, 1_000_000 * lane + 100_000 * life)
                )
                for lane in range(2)
            ]
            for writer in writers:
                writer.start()
            written = len(acknowledged)
            time.sleep(0.7)
            while len(acknowledged) < written + 10 and all(writer.is_alive() for writer in writers):
                time.sleep(0.01)
            server.kill()
            for writer in writers:
                writer.join()
            server.start()
            server.wait_for_port(port)
            check_kept(url, acknowledged, in_flight=2 * (life + 1))
    assert len(acknowledged) > 20


def test_a_clean_stop_exits_with_0_and_a_second_process_is_turned_away(tmp_path: Path) -> None:
    """SIGTERM ends in a flush and exit 0; two processes never share a folder."""
    port, folder = free_port(), tmp_path / "data"
    server = Server("qdrant", qdrant_command(port, folder), tmp_path / "log")
    with running(server, port):
        second = Server("second", qdrant_command(free_port(), folder), tmp_path / "second.log")
        second.start()
        assert second.process is not None
        assert second.process.wait(20) == 2
        assert "another process" in second.log.read_text()
        server.signal(signal.SIGTERM)
        assert server.process is not None
        assert server.process.wait(20) == 0


async def test_a_rebuild_loses_no_write(tmp_path: Path) -> None:
    """Points written, changed and deleted while the search graph is built on a copy are in the new shard, and stay."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((400, SIZE)).tolist()

    def change(first: int, last: int) -> dict[str, object]:
        return {"points": [{"id": n, "vector": rows[n], "payload": {"at": n}} for n in range(first, last)]}

    collections = Collections(tmp_path)
    await collections.create("kept", {"vectors": {"size": SIZE, "distance": "Cosine"}})
    kept = collections.get("kept")
    await kept.write(upsert(change(0, 200), SIZE))
    before = kept.description.shard
    rebuild = asyncio.create_task(kept.rebuild())
    written = 200
    while not rebuild.done():
        if written < 400:
            await kept.write(upsert(change(written, written + 1), SIZE))
            written += 1
        await asyncio.sleep(0.005)
    await rebuild
    assert kept.description.shard != before
    assert await kept.read(lambda shard: shard.info().points_count) == written > 200
    await collections.close()
    (found,) = files.read_all(tmp_path)
    assert [each.name for each in found[0].glob("shard-*")] == [found[1].shard]
    again = Collections(tmp_path)
    again.load()
    assert await again.get("kept").read(lambda shard: shard.info().points_count) == written
    await again.close()


async def test_a_rebuild_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the building process dies, searching and writing go on with the old shard and the copy is gone."""

    async def die(_shard: Path) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("deploy.qdrant_engine.collection.build_graph", die)
    collections = Collections(tmp_path)
    await collections.create("kept", {"vectors": {"size": SIZE, "distance": "Cosine"}})
    kept = collections.get("kept")
    await kept.write(upsert({"points": [{"id": 1, "vector": [1, 0, 0, 0]}]}, SIZE))
    with pytest.raises(RuntimeError, match="killed"):
        await kept.rebuild()
    await kept.write(upsert({"points": [{"id": 2, "vector": [1, 0, 0, 0]}]}, SIZE))
    assert await kept.read(lambda shard: shard.info().points_count) == 2
    assert len(list(files.folder_of(tmp_path, "kept").glob("shard-*"))) == 1
    await collections.close()


async def test_a_rebuild_cancelled_at_any_moment_keeps_every_point(tmp_path: Path) -> None:
    """Stopping the engine during a rebuild leaves either the old shard or the new one, complete."""
    rows = [{"id": n, "vector": [1, n, 0, 0]} for n in range(50)]
    for moment in (0.0, 0.02, 0.1, 0.3, 0.5):
        collections = Collections(tmp_path)
        collections.load()
        if "kept" not in collections:
            await collections.create("kept", {"vectors": {"size": SIZE, "distance": "Cosine"}})
            await collections.get("kept").write(upsert({"points": rows}, SIZE))
        rebuild = asyncio.create_task(collections.get("kept").rebuild())
        await asyncio.sleep(moment)
        rebuild.cancel()
        await asyncio.gather(rebuild, return_exceptions=True)
        assert await collections.get("kept").read(lambda shard: shard.info().points_count) == len(rows)
        await collections.close()
    again = Collections(tmp_path)
    again.load()
    assert await again.get("kept").read(lambda shard: shard.info().points_count) == len(rows)
    await again.close()

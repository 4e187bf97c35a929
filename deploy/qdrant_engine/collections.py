"""Collections of one folder: creation, lookup, deletion, maintenance."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from deploy.qdrant_engine import files
from deploy.qdrant_engine.collection import Collection
from deploy.qdrant_engine.fields import fields, text, whole
from deploy.qdrant_engine.problems import collection_exists, no_collection, unsupported, wrong_input
from deploy.qdrant_engine.tuning import tuning_of

DISTANCES = {
    "Cosine": edge.Distance.Cosine,
    "Dot": edge.Distance.Dot,
    "Euclid": edge.Distance.Euclid,
    "Manhattan": edge.Distance.Manhattan,
}
_ONE = ("shard_number", "replication_factor", "write_consistency_factor")
_IGNORED = ("on_disk_payload",)
_FORBIDDEN = set('<>:"/\\|?*\0\x1f')


class Collections:
    """The collections. Changes are serialised: of four concurrent creators one succeeds and three get 409."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._thread = ThreadPoolExecutor(1, "engine")
        self._by_name: dict[str, Collection] = {}
        self._changes = asyncio.Lock()
        self._deletions: set[asyncio.Task[None]] = set()

    def load(self) -> None:
        """Open all collections of the folder, replaying their logs."""
        for folder, description in files.read_all(self._root):
            config = description.tuning.shard_config(description.size, DISTANCES[description.distance])
            files.warm(folder / description.shard)
            shard = edge.EdgeShard.load(str(folder / description.shard), config)
            self._by_name[description.name] = Collection(folder, description, shard, self._thread)

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def get(self, name: str) -> Collection:
        """Return a collection. Raises ApiProblem (404)."""
        found = self._by_name.get(name)
        if found is None:
            raise no_collection(name)
        return found

    async def create(self, name: str, body: Any) -> None:
        """Create a collection. Raises ApiProblem, 409 when it exists."""
        given = fields(body, "collection", ("vectors", "quantization_config", "optimizers_config", *_IGNORED, *_ONE))
        size, distance = _vectors(given)
        tuning = tuning_of(given)
        _check_name(name)
        async with self._changes:
            if name in self._by_name:
                raise collection_exists(name)
            folder = files.folder_of(self._root, name)
            self._by_name[name] = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._create, folder, files.Description(name, size, distance, "", tuning)
            )

    def _create(self, folder: Path, described: files.Description) -> Collection:
        shard = files.new_shard(folder)
        shard.mkdir(parents=True)
        config = described.tuning.shard_config(described.size, DISTANCES[described.distance])
        opened = edge.EdgeShard.create(str(shard), config)
        opened.flush()
        description = files.moved(described, shard)
        files.save(folder, description)
        return Collection(folder, description, opened, self._thread)

    async def delete(self, name: str) -> bool:
        """Delete a collection; return False when there was none."""
        async with self._changes:
            found = self._by_name.pop(name, None)
            if found is None:
                return False
            files.forget(files.folder_of(self._root, name))
        # In the background: closing flushes, which takes a while.
        deletion = asyncio.create_task(found.destroy())
        self._deletions.add(deletion)
        deletion.add_done_callback(self._deletions.discard)
        return True

    async def maintain(self) -> None:
        """Maintain every collection."""
        for collection in list(self._by_name.values()):
            if collection.description.name in self._by_name:
                await collection.maintain()

    async def close(self) -> None:
        """Close all collections."""
        async with self._changes:
            for collection in self._by_name.values():
                await collection.close()
            self._by_name.clear()
        await asyncio.gather(*self._deletions)
        self._thread.shutdown()


def _check_name(name: str) -> None:
    if len(name) > 200 or name in {".", ".."} or _FORBIDDEN & set(name):
        raise wrong_input("a collection's name has at most 200 characters and none of < > : \" / \\ | ? *")


def _vectors(given: Mapping[str, Any]) -> tuple[int, str]:
    if any(given.get(name, 1) != 1 for name in _ONE):
        raise unsupported("shards and replicas")
    vectors = given.get("vectors")
    if isinstance(vectors, dict) and "size" not in vectors:
        raise unsupported("named vectors")
    params = fields(vectors, "vectors", ("size", "distance", "on_disk"))
    distance = text(params.get("distance"), "distance")
    if distance not in DISTANCES:
        raise wrong_input(f"unknown distance `{distance}`")
    return whole(params.get("size"), "size", least=1, most=65_536), distance

"""Search benchmark: time of search and decision by the number of stored points."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.decide import learned_state
from benchmarks.load.findings import Findings, Table
from benchmarks.load.processes import pin, tree
from benchmarks.load.rig import cores
from deploy.local.plan import ROOT
from deploy.local.servers import Server, free_port, qdrant_command, running
from shared.bandit.arms import Arm, Price
from shared.bandit.build import build_policy
from shared.bandit.context import Context
from shared.bandit.policy import BanditSettings
from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel, Point
from shared.storage.qdrant_index import QdrantIndex, collection_name
from shared.storage.qdrant_setup import SCANNED_POINTS

DIMENSION = 256
TOPICS, SPREAD = 200, 0.9
"""Points lie around so many topics, this far from them: as prompts do, and not at random, where nothing is near."""

MANY = 2000
"""Points per batch of generation."""

NEIGHBOURS, THRESHOLD = 50, -1.0
"""So low that every search finds as many as it wants, however few points there are."""

ROUNDS, ASKED = 80, 25
"""Searches beside each number of points, in rounds: what slows the machine down for a while slows down all of them. So
many, because the first ones beside a million points wait for memory: each takes five times as long as the thousandth.
"""

REST_S = 12.0
"""The engine builds its graph behind the writes, in a process of its own, and looks every 5 s whether it should; after
a long rebuild it takes a rest. So it is at rest when no more points wait than may, and nothing was built for a while.
"""
PATIENCE_S = 3600.0
ARMS = [Arm(f"maker/model-{number}", Price(1e-7, 4e-7)) for number in range(5)]


@dataclass(frozen=True, slots=True)
class Timed:
    """Milliseconds of searches with their decisions, (rounds, searches), and seconds of preparation."""

    took_ms: NDArray[np.float64]
    filled_s: float

    def growth(self, least: Timed) -> float:
        """Return the median over the rounds of how much longer the median search took than beside the `least`."""
        return float(np.median(np.median(self.took_ms, axis=1) / np.median(least.took_ms, axis=1)))


def measure(found: Findings, sizes: Sequence[int], folder: Path) -> None:
    """Fill an index for each size, wait until they are at rest, and time searches with their decisions in turn."""
    own, _ = cores()
    port = free_port()
    server = Server("qdrant", qdrant_command(port, folder / "qdrant"), folder / "qdrant.log", folder=ROOT)
    with running(server, port):
        pid = server.process.pid if server.process is not None else 0
        pin(pid, (own,))
        timed = asyncio.run(_measured(f"http://127.0.0.1:{port}", pid, sorted(sizes)))
    first, last = min(timed), max(timed)
    if last > first:
        found.figures["search growth"] = timed[last].growth(timed[first])
    found.more.append(
        Table(
            "Search and decision",
            f"The local Qdrant engine, {DIMENSION} dimensions, {NEIGHBOURS} neighbours of {len(ARMS)} arms, one "
            f"at a time, {ROUNDS} rounds of {ASKED} beside each number of points; ratios are made within a round. "
            f"A Qdrant server is another program with the same index.",
            ("points", "p50 ms", "p99 ms", f"p50 against {first:,}", "seconds to fill and to come to rest"),
            [
                (f"{size:,}", f"{np.median(one.took_ms):.2f}", f"{np.percentile(one.took_ms, 99):.2f}",
                 f"{one.growth(timed[first]):.2f}", f"{one.filled_s:.0f}")
                for size, one in timed.items()
            ],
        )
    )  # fmt: skip


async def _measured(url: str, pid: int, sizes: Sequence[int]) -> dict[int, Timed]:
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((TOPICS, DIMENSION))
    async with QuickHttp(url) as http:
        indexes, filled_s = {}, {}
        for size in sizes:
            print(f"search: {size:,} points", flush=True)
            began = time.perf_counter()
            indexes[size] = await _filled(http, size, topics, rng)
            await _at_rest(http, pid, model_of(size))
            filled_s[size] = time.perf_counter() - began - REST_S
        print("search: time", flush=True)
        took = await _in_turn(indexes, topics, rng)
    return {size: Timed(took[size], filled_s[size]) for size in sizes}


def model_of(size: int) -> EmbeddingModel:
    """Return the model of the collection with `size` points."""
    return EmbeddingModel(f"bench-{size}", DIMENSION)


async def _filled(http: QuickHttp, size: int, topics: NDArray[np.float64], rng: np.random.Generator) -> QdrantIndex:
    index = QdrantIndex(http, None, 30.0)
    await index.prepare(model_of(size))
    for stored in range(0, size, MANY):
        await index.upsert(_points(_vectors(min(MANY, size - stored), topics, rng), stored))
    return index


def _vectors(number: int, topics: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float32]:
    rows = topics[rng.integers(len(topics), size=number)] + SPREAD * rng.standard_normal((number, topics.shape[1]))
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _points(vectors: NDArray[np.float32], start: int) -> list[Point]:
    now = time.time()
    return [
        Point(str(uuid.UUID(int=number + 1)), vector, ARMS[number % len(ARMS)].id, now, "bench", number % 11 / 10)
        for number, vector in enumerate(vectors, start)
    ]


async def _at_rest(http: QuickHttp, pid: int, model: EmbeddingModel) -> None:
    """Wait until the engine has built all graphs."""
    start = built = time.perf_counter()
    while (now := time.perf_counter()) - built < REST_S:
        if now - start > PATIENCE_S:
            raise RuntimeError("search: the engine does not finish building")
        if len(tree(pid)) > 1 or await _waiting(http, model) >= SCANNED_POINTS:
            built = now
        await asyncio.sleep(0.2)


async def _waiting(http: QuickHttp, model: EmbeddingModel) -> int:
    """Return the number of points that are scanned without a graph."""
    path, parting = f"/collections/{collection_name(model)}", {"connection": "close"}
    described = orjson.loads((await http.request("GET", path, b"", parting, within_s=30.0)).body)["result"]
    return int(described["points_count"] - described["indexed_vectors_count"])


async def _in_turn(
    indexes: Mapping[int, QdrantIndex], topics: NDArray[np.float64], rng: np.random.Generator
) -> dict[int, NDArray[np.float64]]:
    """Return milliseconds by number of points; the first round is warm-up."""
    policy = build_policy(BanditSettings(max_similar_requests=NEIGHBOURS))
    posterior = policy.fit(learned_state(ARMS, 2000.0, 100.0, rng), ARMS)
    eligible = tuple(arm.id for arm in ARMS)
    took: dict[int, list[list[float]]] = {size: [] for size in indexes}
    for _ in range(ROUNDS + 1):
        for size, index in indexes.items():
            took[size].append([])
            for vector in _vectors(ASKED, topics, rng):
                began = time.perf_counter()
                found = await index.neighbours(vector, limit=NEIGHBOURS, threshold=THRESHOLD, since=0.0)
                policy.decide(posterior, Context(vector, found), eligible, rng)
                took[size][-1].append(1000 * (time.perf_counter() - began))
    return {size: np.array(rounds[1:]) for size, rounds in took.items()}

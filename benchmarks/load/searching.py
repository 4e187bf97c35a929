"""Search and decision beside ever more stored points: does a router with a long memory decide as fast?"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
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

MODEL = EmbeddingModel("bench", 256)
TOPICS, SPREAD = 200, 0.9
"""Points lie around so many topics, this far from them: as prompts do, and not at random, where nothing is near."""

NEIGHBOURS, THRESHOLD = 50, -1.0
"""So low that every search finds as many as it wants, however few points there are."""

ASKED = 400
REST_S = 12.0
"""The engine builds its graph behind the writes, in a process of its own, and looks every 5 s whether it should; after
a long rebuild it takes a rest. So it is at rest when no more points wait than may, and nothing was built for a while.
"""
PATIENCE_S = 3600.0
ARMS = [Arm(f"maker/model-{number}", Price(1e-7, 4e-7)) for number in range(5)]


def measure(found: Findings, sizes: Sequence[int], folder: Path) -> None:
    """Fill an index of its own up to each size, wait until it is at rest, and time searches with their decisions."""
    own, _ = cores()
    port = free_port()
    server = Server("qdrant", qdrant_command(port, folder / "qdrant"), folder / "qdrant.log", folder=ROOT)
    with running(server, port):
        pid = server.process.pid if server.process is not None else 0
        pin(pid, (own,))
        timed = asyncio.run(_measured(f"http://127.0.0.1:{port}", pid, sorted(sizes)))
    p50 = {size: float(np.median(took)) for size, (took, _) in timed.items()}
    first, last = min(p50), max(p50)
    if last > first:
        found.figures["search growth"] = p50[last] / p50[first]
    found.more.append(
        Table(
            "Search and decision",
            f"The local Qdrant engine, {MODEL.dimension} dimensions, {NEIGHBOURS} neighbours of {len(ARMS)} arms, one "
            f"at a time. A Qdrant server is another program with the same index.",
            ("points", "p50 ms", "p99 ms", f"p50 against {first:,}", "seconds to fill and to come to rest"),
            [
                (f"{size:,}", f"{p50[size]:.2f}", f"{np.percentile(took, 99):.2f}", f"{p50[size] / p50[first]:.2f}",
                 f"{seconds:.0f}")
                for size, (took, seconds) in timed.items()
            ],
        )
    )  # fmt: skip


async def _measured(url: str, pid: int, sizes: Sequence[int]) -> dict[int, tuple[NDArray[np.float64], float]]:
    """Return, for each size, milliseconds of each search with its decision, and the seconds until it could be timed."""
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((TOPICS, MODEL.dimension))
    timed, stored = {}, 0
    async with QuickHttp(url) as http:
        index = QdrantIndex(http, None, 30.0)
        await index.prepare(MODEL)
        for size in sizes:
            print(f"search: {size:,} points", flush=True)
            began = time.perf_counter()
            while stored < size:
                many = min(2000, size - stored)
                await index.upsert(_points(_vectors(many, topics, rng), stored))
                stored += many
            await _at_rest(http, pid)
            seconds = time.perf_counter() - began
            timed[size] = (await _timed(index, topics, rng), seconds - REST_S)
    return timed


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


async def _at_rest(http: QuickHttp, pid: int) -> None:
    """Wait until the engine has built all that it will."""
    start = built = time.perf_counter()
    while (now := time.perf_counter()) - built < REST_S:
        if now - start > PATIENCE_S:
            raise RuntimeError("search: the engine does not come to rest")
        if len(tree(pid)) > 1 or await _waiting(http) >= SCANNED_POINTS:
            built = now
        await asyncio.sleep(0.2)


async def _waiting(http: QuickHttp) -> int:
    """Return how many points are searched one by one."""
    reply = await http.request("GET", f"/collections/{collection_name(MODEL)}", b"", {}, within_s=30.0)
    described = orjson.loads(reply.body)["result"]
    return int(described["points_count"] - described["indexed_vectors_count"])


async def _timed(index: QdrantIndex, topics: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    policy = build_policy(BanditSettings(max_similar_requests=NEIGHBOURS))
    posterior = policy.fit(learned_state(ARMS, 2000.0, 100.0, rng), ARMS)
    eligible = tuple(arm.id for arm in ARMS)
    took = []
    for vector in _vectors(ASKED, topics, rng):
        began = time.perf_counter()
        found = await index.neighbours(vector, limit=NEIGHBOURS, threshold=THRESHOLD, since=0.0)
        policy.decide(posterior, Context(vector, found), eligible, rng)
        took.append(1000 * (time.perf_counter() - began))
    return np.array(took)

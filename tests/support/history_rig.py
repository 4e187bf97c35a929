"""A whole memory on real servers, worked in this process: requests, sums, points and history, and traffic for them."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np
import psycopg
from msgspec import structs
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from services.learner.commands.import_scores import Imported, ImportStores, import_scores
from services.learner.commands.rebuild import RebuildStores, Rebuilt, rebuild
from services.learner.commands.score_file import ScoredAnswer
from services.learner.learning.apply_events import EventLearner
from services.learner.learning.effects import effect_of
from services.learner.writers.history_writer import HistoryWriter
from services.learner.writers.index_writer import IndexWriter
from shared.bandit.sources import Source
from shared.metrics import LearnerMetrics
from shared.quick_http import QuickHttp
from shared.schemas.records import Attempt, RequestRecord, Status
from shared.schemas.storage import Assignment, EmbeddingModel, NewRecord, RatingTerms
from shared.settings import Settings
from shared.storage import redis_keys
from shared.storage.postgres_history import PostgresHistory
from shared.storage.postgres_imports import PostgresImports
from shared.storage.qdrant_index import QdrantIndex, collection_name
from shared.storage.redis_requests import GRACE_S
from tests.support.assigning import a_kind_assigner
from tests.support.evaluations import an_evaluation, evaluate
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.redis_rig import RECENCY_DAYS, WINDOW_S, Rig, redis_rig
from tests.support.sample_records import a_new_record, own_id
from tests.support.values import replace

DAY_S = 86_400.0
ARMS = ("vendor/model-a", "vendor/model-b", "other/model-c")
TRAITS: tuple[tuple[str, ...], ...] = ((), ("system:5d2f00c2a1b7e94c",), ("system:3c91f6e08d54aa17", "json"), ())


@dataclass
class Memory:
    """One world. `rig` holds what lives in Redis."""

    rig: Rig
    history: PostgresHistory
    index: QdrantIndex
    session: aiohttp.ClientSession
    url: str
    database_url: str
    sent: list[NewRecord] = field(default_factory=list)
    model: EmbeddingModel = field(default_factory=lambda: EmbeddingModel(f"test/{uuid.uuid4().hex[:8]}", 4))

    def __post_init__(self) -> None:
        rig, self.metrics = self.rig, LearnerMetrics(CollectorRegistry())
        self.learner = self.new_learner("test")

        async def fetch_model() -> EmbeddingModel:
            return self.model

        self.index_writer = IndexWriter(
            log=rig.log, index=self.index, fetch_model=fetch_model, clock=rig.clock, point_days=RECENCY_DAYS
        )
        self.history_writer = HistoryWriter(
            rig.outbox, self.history, rig.kinds, "abc", {"x": 1}, clock=rig.clock, metrics=self.metrics
        )

    def new_learner(self, name: str) -> EventLearner:
        """Return one more learner, with an assigner of its own."""
        rig = self.rig
        kinds = a_kind_assigner(rig.kinds, rig.log, rig.clock, metrics=self.metrics, model=self.model)
        return EventLearner(
            name, queue=rig.queue, log=rig.log, posteriors=rig.posteriors, kinds=kinds, clock=rig.clock,
            metrics=self.metrics,
        )  # fmt: skip

    async def learn(self) -> None:
        """Do all that a learner does until nothing waits."""
        await self.learner.drain()
        await self.index_writer.step()
        await self.history_writer.step()

    async def rebuild(self, *, wipe: bool = False, recency_days: float = RECENCY_DAYS) -> Rebuilt:
        """Put everything back."""
        rig = self.rig
        places = RebuildStores(
            self.history,
            self.history_writer,
            rig.outbox,
            rig.restorer,
            self.index,
            rig.heartbeats,
            rig.clock,
            rig.imports,
            PostgresImports(self.history),
        )
        lifetime_s = WINDOW_S + GRACE_S
        steps: list[tuple[int, int]] = []
        done = await rebuild(
            places, lambda *step: steps.append(step), recency_days=recency_days, lifetime_s=lifetime_s, wipe=wipe
        )
        assert steps[-1] == (done.requests, done.requests)
        return done

    async def lose(self) -> None:
        """Redis and Qdrant forget everything."""
        await self.rig.raw.flushall()
        async with self.session.delete(f"{self.url}/collections/{collection_name(self.model)}"):
            pass

    def import_stores(self) -> ImportStores:
        """Return the stores of imports, with an embedder that has the world's model."""
        rig, embedder = self.rig, FakeEmbedder(self.model.dimension)
        embedder.named(self.model)
        kinds = a_kind_assigner(rig.import_kinds, rig.imports, rig.clock, metrics=self.metrics, model=self.model)
        history = PostgresImports(self.history)
        return ImportStores(rig.imports, kinds, rig.import_posteriors, self.index, embedder, rig.clock, history)

    async def import_scores(
        self, lines: Sequence[ScoredAnswer], source: Source = Source.EVAL, weight: float = 0.5
    ) -> Imported:
        """Import scores as the command does."""
        return await import_scores(
            lines, self.import_stores(), lambda *_: None, source=source, weight=weight, recency_days=RECENCY_DAYS
        )

    async def imports_in_redis(self) -> dict[str, Any]:
        """Every imported prompt's hash."""
        raw = self.rig.raw
        return {key.decode(): await raw.hgetall(key) async for key in raw.scan_iter(redis_keys.imported("*"))}

    def traffic(self, number: int, seed: int = 1) -> list[NewRecord]:
        """Requests of many kinds: arms, days, ends, failed attempts, clusters, shifts, with public ids or without."""
        chance, entries = random.Random(seed), []
        for at in range(number):
            # A third is older than what Redis keeps of a request; its sums still count.
            now = self.rig.clock.now() - chance.choice((0.0, 0.1, 1.5, 12.0)) * DAY_S - at
            status = chance.choice((Status.ANSWERED,) * 5 + (Status.FAILED, Status.CANCELLED, Status.TRUNCATED))
            entry = a_new_record(
                now,
                public_id=chance.choice((None, f"client-{at}")),
                owner=chance.choice(("public", "k" * 16)),
                arm=chance.choice(ARMS),
                status=status,
                cost_usd=chance.random() / 7,
                local_shift=chance.choice((0.0, 0.1, -0.3)),
                cluster=chance.choice((None, (1, 3), (2, 0))),
                embedding_model=self.model.id,
            )
            attempts = (Attempt(chance.choice(ARMS), "timeout", 1.0, spent=True), *entry.record.outcome.attempts)
            outcome = replace(entry.record.outcome, attempts=attempts, upstream_s=chance.random() * 9)
            vector = np.random.default_rng(at).normal(size=4).astype(np.float32)
            vector /= np.linalg.norm(vector)
            record = replace(entry.record, outcome=outcome, traits=TRAITS[at % len(TRAITS)])
            entries.append(NewRecord(record, chance.choice((vector, vector, None))))
        return entries

    async def send(self, entries: list[NewRecord], seed: int = 2) -> None:
        """Record all, rate most, some again and again, some before the record comes; evaluate some."""
        self.sent += entries
        chance, log, now = random.Random(seed), self.rig.log, self.rig.clock.now()
        early = [entry for entry in entries if chance.random() < 0.1]
        for entry in early:
            record = entry.record
            await log.reserve(owner=record.owner, public_id=record.public_id, own_id=record.id)
        rated = [entry.record for entry in (*early, *entries) if chance.random() < 0.7]
        for record in rated[: len(early)]:
            await log.rate(owner=record.owner, public_id=record.public_id, score=chance.random(), text=None, now=now)
        await log.record(entries)
        for record in (*rated, *rated[::2], *rated[::5]):
            score, text = chance.choice((0.0, 1.0, chance.random())), chance.choice((None, "", "meh ü"))
            await log.rate(owner=record.owner, public_id=record.id, score=score, text=text, now=record.created_at + 60)
        await self._evaluate([entry.record for entry in entries if chance.random() < 0.4], chance)

    async def _evaluate(self, records: list[RequestRecord], chance: random.Random) -> None:
        """Let other sources score answers: some by a judge beside answers of other models, some by a test set."""
        for record in records:
            scores = (chance.random(), chance.choice((None, 0.0, chance.random())))
            other = chance.choice([arm for arm in ARMS if arm != record.outcome.arm])
            await evaluate(self.rig.evaluations, record.id, an_evaluation(*scores, arm=record.outcome.arm, other=other))
            for source in (Source.EVAL, chance.choice((Source.EVAL, Source.SESSION))):
                terms = RatingTerms(source=source, weight=chance.choice((1.0, 1 / 3)))
                rated_at, score = record.created_at + 90, chance.random()
                await self.rig.log.rate(
                    owner=record.owner, public_id=record.id, score=score, text=None, now=rated_at, terms=terms
                )

    async def requests_in_redis(self) -> dict[str, Any]:
        """Every request's hash, and every public id."""
        raw, found = self.rig.raw, {}
        async for key in raw.scan_iter(redis_keys.request("*"), count=1000):
            found[key.decode()] = await raw.hgetall(key)
        async for key in raw.scan_iter(redis_keys.alias("*", "*"), count=1000):
            found[key.decode()] = await raw.get(key)
        return found

    async def sums_in_redis(self) -> dict[str, Any]:
        """Every hash of sums, exactly as it is, zeros included, and which days are known."""
        raw = self.rig.raw
        sums = {
            key.decode(): await raw.hgetall(key) async for key in raw.scan_iter(redis_keys.sums("*", "*"), count=1000)
        }
        return sums | {"days": sorted(await raw.hkeys(redis_keys.VERSIONS))}

    async def as_an_earlier_version(
        self, entries: list[NewRecord], *, epoch: int, centres: NDArray[np.float32] | None
    ) -> None:
        """Learn as a version before kinds did: by clusters, or by none, and nothing is assigned."""
        await self.send(entries)
        before = {entry.record.id: entry for entry in entries}
        for event in await self.rig.queue.read("old", 10_000):
            (request,) = await self.rig.log.load([event.request_id])
            assert request is not None
            vector = before[event.request_id].vector
            kind = None if centres is None or vector is None else (epoch, int((centres @ vector).argmax()))
            counted = structs.replace(request, assigned=None if kind is None else Assignment(kind))
            await self.rig.posteriors.apply([effect_of(event, counted)])
        await self.history_writer.step()
        if centres is not None:
            rows, dimension = centres.shape
            fields = {"epoch": epoch, "rows": rows, "dimension": dimension, "data": centres.astype("<f4").tobytes()}
            await self.rig.raw.hset(redis_keys.CENTROIDS, mapping=fields | {"model": self.model.id, "requests": 50})
            with psycopg.connect(self.database_url, autocommit=True) as database:
                row = (epoch, dimension, centres.astype("<f4").tobytes())
                database.execute("INSERT INTO centroids (epoch, dimension, centres) VALUES (%s, %s, %s)", row)

    async def forget_snapshots(self) -> None:
        """Delete the snapshots of the kinds, which leaves the assignments."""
        with psycopg.connect(self.database_url, autocommit=True) as database:
            database.execute("DELETE FROM kinds")

    async def points(self) -> dict[str, Any]:
        """Every point: vector, payload."""
        body = {"limit": 10_000, "with_payload": True, "with_vector": True}
        url = f"{self.url}/collections/{collection_name(self.model)}/points/scroll"
        async with self.session.post(url, json=body) as answer:
            content = await answer.json()
        return {point["id"]: point for point in content["result"]["points"]}


@asynccontextmanager
async def memory(redis_url: str, qdrant_url: str, database_url: str) -> AsyncIterator[Memory]:
    """Everything empty, on real servers."""
    async with AsyncExitStack() as stack:
        history = PostgresHistory(Settings(DATABASE_URL=database_url))
        stack.push_async_callback(history.close)
        rig = await stack.enter_async_context(redis_rig(redis_url, 100_000, archive=history))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        http = await stack.enter_async_context(QuickHttp(qdrant_url))
        yield Memory(rig, history, QdrantIndex(http, None, 5.0), session, qdrant_url, database_url)


__all__ = ["Memory", "memory", "own_id"]

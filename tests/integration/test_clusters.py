"""Clusters of the traffic: fitted once, seen by gateways; all that was learned counted by them, to the last digit."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from prometheus_client import CollectorRegistry
from redis import Redis

from services.learner.learning.apply_events import EventLearner
from services.learner.learning.clusters import CHECK_EVERY_S, ClusterUpdater
from services.learner.writers.index_writer import IndexWriter
from shared.bandit.arms import Arm
from shared.bandit.clusters import REFIT_AT
from shared.bandit.context import Context
from shared.bandit.learning import with_cluster
from shared.bandit.mixed_thompson import MixedThompson
from shared.bandit.policy import BanditSettings
from shared.bandit.sums import Centroids
from shared.metrics import LearnerMetrics
from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel, NewRecord
from shared.storage import redis_keys
from shared.storage.qdrant_index import QdrantIndex
from shared.storage.request_codec import stored_vector
from tests.support.learner_rig import NOWHERE, learner_rig, until
from tests.support.ledgers import ledgers_in, sums_in
from tests.support.redis_rig import Rig, redis_rig
from tests.support.sample_records import ARM, a_new_record
from tests.support.values import replace

ENOUGH = REFIT_AT[0] + 14


def a_vector(chance: np.random.Generator, dimension: int = 4) -> Any:
    """A prompt of one of four kinds."""
    vector = np.eye(dimension)[chance.integers(4)] + chance.normal(size=dimension) / 20
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def from_scratch(url: str, centroids: Centroids) -> Counter[str]:
    """What the sums should be: each request's totals, and the same in the cluster of its vector."""
    total = Counter[str]()
    client: Any
    with Redis.from_url(url) as client:
        for key in client.scan_iter(redis_keys.request("*"), count=1000):
            vector, *ledgers = client.hmget(key, "vector", "applied:outcome", "applied:feedback")
            for ledger in ledgers:
                total.update(with_cluster(orjson.loads(ledger or b"{}"), centroids.cluster_of(stored_vector(vector))))
    return Counter({name: value for name, value in total.items() if value})


def totals(sums: Counter[str]) -> Counter[str]:
    return Counter({name: value for name, value in sums.items() if "@" not in name})


@dataclass
class World:
    """A learner's parts on real servers. `model` may be exchanged; so may the address of Qdrant."""

    rig: Rig
    qdrant_url: str
    model: EmbeddingModel
    stack: AsyncExitStack

    def __post_init__(self) -> None:
        self.registry, self.chance = CollectorRegistry(), np.random.default_rng(1)
        self.metrics = LearnerMetrics(self.registry)
        rig = self.rig
        self.learner = EventLearner(
            "test", queue=rig.queue, log=rig.log, posteriors=rig.posteriors, clock=rig.clock, metrics=self.metrics
        )

    async def cluster_updater(self, url: str | None = None) -> tuple[ClusterUpdater, IndexWriter]:
        """Another learner."""

        async def fetch_model() -> EmbeddingModel:
            return self.model

        index = QdrantIndex(await self.stack.enter_async_context(QuickHttp(url or self.qdrant_url)), None, 5.0)
        rig = self.rig
        clock = rig.clock
        index_writer = IndexWriter(log=rig.log, index=index, fetch_model=fetch_model, clock=clock, recency_days=30.0)
        made = ClusterUpdater(
            log=rig.log,
            index=index,
            index_writer=index_writer,
            posteriors=rig.posteriors,
            recounter=rig.recounter,
            clock=clock,
            metrics=self.metrics,
            recency_days=30.0,
        )
        return made, index_writer

    async def traffic(self, number: int, **facts: object) -> list[NewRecord]:
        """Record requests, rate half of them, and learn all."""
        entries = []
        for at in range(number):
            entry = a_new_record(self.rig.clock.now() - at, embedding_model=self.model.id, **facts)
            entries.append(replace(entry, vector=a_vector(self.chance, self.model.dimension)))
        await self.rig.log.record(entries)
        for entry in entries[::2]:
            await self.rate(entry, float(self.chance.random()))
        await self.learner.drain()
        return entries

    async def rate(self, entry: NewRecord, score: float) -> None:
        name, now = entry.record.public_id, self.rig.clock.now()
        await self.rig.log.rate(owner="public", public_id=name, score=score, text=None, now=now)

    async def centroids(self) -> Centroids | None:
        return (await self.rig.second_reader.load()).centroids

    def later(self) -> None:
        """It is time to look again whether a fit is due, and which model there is."""
        self.rig.clock.advance(CHECK_EVERY_S + 30)


@asynccontextmanager
async def world_on(redis_url: str, qdrant_url: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        rig = await stack.enter_async_context(redis_rig(redis_url))
        yield World(rig, qdrant_url, EmbeddingModel(f"test-{uuid.uuid4().hex[:8]}", 4), stack)


async def test_two_learners_fit_once_and_all_that_was_learned_follows(redis_server: str, qdrant_url: str) -> None:
    """Not before there is enough; then one epoch, which gateways see; totals stay, clusters are as from scratch."""
    async with world_on(redis_server, qdrant_url) as world:
        one, index_writer = await world.cluster_updater()
        other, _ = await world.cluster_updater()
        old = await world.traffic(REFIT_AT[0] - 1)
        await index_writer.step()
        await one.step()
        assert await world.centroids() is None
        world.later()
        await world.traffic(ENOUGH - len(old))
        await index_writer.step()
        before, version = sums_in(redis_server), (await world.rig.second_reader.load()).version
        await asyncio.gather(one.step(), other.step())
        state = await world.rig.second_reader.load()
        assert state.version != version
        assert state.centroids is not None
        assert (state.centroids.epoch, state.centroids.requests) == (1, ENOUGH)
        assert world.registry.get_sample_value("llm_router_cluster_epoch") == 1
        # Learned by somebody who did not know the clusters yet; rated late, and anew.
        await world.traffic(5)
        for entry in old[:20]:
            await world.rate(entry, 1.0)
        await world.learner.drain()
        world.later()
        for cluster_updater in (one, other, one):
            await cluster_updater.step()
        after = sums_in(redis_server)
        assert after == ledgers_in(redis_server) == from_scratch(redis_server, state.centroids)
        assert (
            before["requests"] + 5 == after["requests"] == sum(after[name] for name in after if "requests@1." in name)
        )
        assert (await world.rig.recounter.state(10)).due == []
        again = await world.centroids()
        assert again is not None
        assert again.epoch == 1


async def test_a_gateway_decides_by_the_clusters(redis_server: str, qdrant_url: str) -> None:
    """What it loads makes its decisions name epoch and cluster, and its beliefs differ by kind of prompt."""
    async with world_on(redis_server, qdrant_url) as world:
        cluster_updater, index_writer = await world.cluster_updater()
        await world.traffic(ENOUGH)
        await index_writer.step()
        await cluster_updater.step()
        state = await world.rig.second_reader.load()
        policy = MixedThompson(BanditSettings())
        posterior = policy.fit(state, [Arm(ARM, None), Arm("other", None)])
        vector = a_vector(world.chance)
        decision = policy.decide(posterior, Context(vector), [ARM, "other"], world.chance)
        assert state.centroids is not None
        assert decision.cluster == state.centroids.cluster_of(vector)
        assert decision.cluster is not None
        assert posterior.quality.shape[0] == 1 + len(state.centroids.centres)


async def test_qdrant_away_delays_a_fit_and_stops_no_counting(redis_server: str, qdrant_url: str) -> None:
    """Without it nothing is fitted, what was fitted goes on being counted; back again, it is made up for."""
    async with world_on(redis_server, qdrant_url) as world:
        away, _ = await world.cluster_updater(NOWHERE)
        back, index_writer = await world.cluster_updater()
        await world.traffic(ENOUGH)
        await away.step()
        assert await world.centroids() is None
        assert await world.rig.posteriors.save_centroids(Centroids(1, np.eye(4, dtype=np.float32)))
        await away.step()
        assert (await world.rig.recounter.state(1)).counted
        await index_writer.step()
        await back.step()
        fitted = await world.centroids()
        assert fitted is not None
        assert (fitted.epoch, fitted.model) == (2, world.model.id)
        assert sums_in(redis_server) == from_scratch(redis_server, fitted)


async def test_another_embedding_model_begins_anew(redis_server: str, qdrant_url: str) -> None:
    """Its requests get clusters of their own, under a later epoch; those of the old model count as kind unknown."""
    async with world_on(redis_server, qdrant_url) as world:
        cluster_updater, index_writer = await world.cluster_updater()
        await world.traffic(ENOUGH)
        await index_writer.step()
        await cluster_updater.step()
        world.model = EmbeddingModel(f"test-{uuid.uuid4().hex[:8]}", 6)
        world.later()
        await world.traffic(ENOUGH)
        await index_writer.step()
        before = totals(sums_in(redis_server))
        await cluster_updater.step()
        fitted = await world.centroids()
        assert fitted is not None
        assert (fitted.epoch, fitted.model, fitted.centres.shape[1]) == (2, world.model.id, 6)
        after = sums_in(redis_server)
        assert totals(after) == before
        assert after == from_scratch(redis_server, fitted)
        assert sum(after[name] for name in after if name.startswith("requests@")) == ENOUGH


async def test_what_redis_no_longer_keeps_counts_as_kind_unknown(redis_server: str, qdrant_url: str) -> None:
    """Its sums stay in a cluster of the past, which the policy reads as no cluster, and in the totals."""
    async with world_on(redis_server, qdrant_url) as world:
        cluster_updater, index_writer = await world.cluster_updater()
        gone = await world.traffic(3, cluster=(7, 0))
        await world.rig.raw.delete(*(redis_keys.request(entry.record.id) for entry in gone))
        await world.traffic(ENOUGH)
        await index_writer.step()
        await cluster_updater.step()
        arm = (await world.rig.second_reader.load()).arms[ARM]
        policy = MixedThompson(BanditSettings())
        state = await world.rig.second_reader.load()
        arms = dict(state.arms)
        without = {
            ARM: replace(arm, clusters={key: each for key, each in arm.clusters.items() if key[0] == 1}),
        }
        assert arm.clusters[7, 0].requests == 3
        assert arm.total.requests == ENOUGH + 3
        fits = [policy.fit(replace(state, arms=each), [Arm(ARM, None)]) for each in (arms, without)]
        np.testing.assert_array_equal(fits[0].quality, fits[1].quality)


async def test_kill_9_in_the_middle_of_counting_anew(tmp_path: Path) -> None:
    """Whenever learners die, the next ones end with the sums as from scratch; ratings meanwhile count once."""
    chance = np.random.default_rng(3)
    async with learner_rig(tmp_path) as rig:
        learner = rig.start_learner()
        await rig.living(1)
        ids = await rig.record(1500)
        client: Any = rig.client
        pipeline = client.pipeline()
        for own_id in ids:
            pipeline.hset(redis_keys.request(own_id), "vector", a_vector(chance).astype("<f4").tobytes())
        await pipeline.execute()
        for own_id in ids[::3]:
            await rig.rate(own_id, float(chance.random()))
        await until(rig.idle)
        before, partial = totals(sums_in(rig.url)), 0
        for epoch in range(1, 4):
            centres = np.roll(np.eye(4, dtype=np.float32), epoch, axis=0)
            centroids = Centroids(epoch, centres, "test-4", 800)
            await rig.posteriors.save_centroids(centroids)

            async def begun(epoch: int = epoch) -> bool:
                return any(f"@{epoch}." in name for name in sums_in(rig.url))

            await until(begun)
            learner.kill()
            sums = sums_in(rig.url)
            moved = sum(value for name, value in sums.items() if name.startswith(f"requests@{epoch}."))
            partial += 0 < moved < len(ids)
            assert sums == ledgers_in(rig.url)
            for own_id in ids[1::90]:
                await rig.rate(own_id, float(chance.random()))
            learner = rig.start_learner()
        assert partial, "no learner was killed with work in hand"
        await until(rig.idle)

        async def counted() -> bool:
            fields = await client.hgetall(redis_keys.CENTROIDS)
            return fields.get(b"counted") == b"3" and not await client.scard(redis_keys.MISCOUNTED)

        await until(counted)
        after = sums_in(rig.url)
        assert after == ledgers_in(rig.url) == from_scratch(rig.url, centroids)
        assert after["requests"] == before["requests"] == len(ids)
        assert after["latency_us"] == before["latency_us"]
        assert after["labels"] == len({*ids[::3], *ids[1::90]})

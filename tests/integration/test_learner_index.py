"""From a rating to a labelled neighbour: learner, real Redis, real Qdrant engine."""

from __future__ import annotations

import uuid

import numpy as np
from prometheus_client import CollectorRegistry

from services.learner.commands.forget import Selection, forget
from services.learner.learning.apply_events import EventLearner
from services.learner.writers.index_writer import IndexWriter
from shared.metrics import LearnerMetrics
from shared.quick_http import QuickHttp
from shared.schemas.storage import EmbeddingModel
from shared.storage import redis_keys
from shared.storage.qdrant_index import QdrantIndex
from tests.support.assigning import a_kind_assigner
from tests.support.history_rig import memory
from tests.support.redis_rig import redis_rig
from tests.support.sample_records import a_new_record


async def test_a_rated_request_becomes_a_neighbour_and_a_revision_its_new_label(
    redis_server: str, qdrant_url: str
) -> None:
    """Unrated it is no neighbour; rated it is, with its score; rated anew, with the new one; forgotten, no more."""
    model = EmbeddingModel(f"test-{uuid.uuid4().hex[:8]}", 4)  # a collection of its own

    async def fetch_model() -> EmbeddingModel:
        return model

    async with redis_rig(redis_server) as rig, QuickHttp(qdrant_url) as http:
        index = QdrantIndex(http, api_key=None, timeout_s=5.0)
        learner = EventLearner(
            "me",
            queue=rig.queue,
            log=rig.log,
            posteriors=rig.posteriors,
            kinds=a_kind_assigner(rig.kinds, rig.log, rig.clock, model=model),
            clock=rig.clock,
            metrics=LearnerMetrics(CollectorRegistry()),
        )
        index_writer = IndexWriter(log=rig.log, index=index, fetch_model=fetch_model, clock=rig.clock, point_days=30.0)
        entry = a_new_record(rig.clock.now(), public_id="x", embedding_model=model.id)
        vector = np.full(4, 0.5, dtype=np.float32)
        await index.prepare(model)
        await rig.log.record([entry])
        seen = []
        for score in (None, 0.25, 0.75):
            if score is not None:
                await rig.log.rate(owner="public", public_id="x", score=score, text=None, now=rig.clock.now())
            await learner.drain()
            assert await index_writer.step() == 1
            near = await index.neighbours(vector, limit=10, threshold=0.9, since=rig.clock.now() - 60)
            seen.append([(each.request_id, each.arm, each.score) for each in near])
        arm = entry.record.outcome.arm
        assert seen == [[], [(entry.record.id, arm, 0.25)], [(entry.record.id, arm, 0.75)]]
        assert (await rig.queue.depth()).unindexed == 0
        await forget(Selection(owner="public"), rig.log, rig.posteriors, lambda _: None)
        assert await index_writer.step() == 1
        assert await index.neighbours(vector, limit=10, threshold=0.9, since=rig.clock.now() - 60) == ()


async def test_a_request_rated_after_its_story_is_gone_becomes_a_neighbour(
    redis_server: str, qdrant_url: str, database_url: str
) -> None:
    """With a history Redis keeps no story of a settled request; its short vector is written when a rating comes."""
    async with memory(redis_server, qdrant_url, database_url) as world:
        rig = world.rig
        entry = a_new_record(rig.clock.now(), embedding_model=world.model.id)
        assert entry.vector is not None
        await rig.log.record([entry])
        for _ in range(2):
            await world.learn()
        assert not await rig.raw.exists(redis_keys.story(entry.record.id))
        await rig.log.rate(owner="public", public_id=entry.record.id, score=0.25, text=None, now=rig.clock.now())
        await world.learn()
        near = await world.index.neighbours(entry.vector, limit=10, threshold=0.9, since=rig.clock.now() - 60)
        assert [(each.request_id, each.arm, each.score) for each in near] == [
            (entry.record.id, entry.record.outcome.arm, 0.25)
        ]
        assert not await rig.raw.exists(redis_keys.vector(entry.record.id)), "it is in the index"

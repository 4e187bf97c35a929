"""Storage benchmark: bytes of Redis that a request leaves, by kind of key and in all, on a Redis of its own.

Requests are recorded, learned, rated and marked as indexed by the adapters and the learner of the product. Decisions
are those of the policy, their neighbours and the answers are made up.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from prometheus_client import CollectorRegistry

from benchmarks.decide import DIMENSION, learned_state
from benchmarks.load.findings import Findings, Table
from deploy.local.servers import Server, free_port, redis_command, running
from deploy.simulator.account import MODELS
from services.learner.learning.apply_events import EventLearner
from services.learner.learning.assign_kinds import KindAssigner
from shared.bandit.arms import Arm, Price
from shared.bandit.build import build_policy
from shared.bandit.context import Context, Neighbour
from shared.bandit.decision import Decision
from shared.bandit.policy import BanditSettings
from shared.clock import SystemClock
from shared.metrics import LearnerMetrics
from shared.schemas.history import NO_HISTORY, OutboxBound
from shared.schemas.ids import uuid7
from shared.schemas.records import Attempt, Outcome, RequestRecord, Status
from shared.schemas.storage import EmbeddingModel, NewRecord
from shared.schemas.traffic import TrafficBounds
from shared.settings import Settings
from shared.storage.redis_connection import Client, connect
from shared.storage.redis_kinds import RedisKindStore
from shared.storage.redis_outbox import RedisOutbox
from shared.storage.redis_posteriors import RedisPosteriorStore
from shared.storage.redis_queue import RedisEventQueue
from shared.storage.redis_requests import RedisRequestLog

NUMBER, LOOKED_AT = 400, 100
"""Requests of one measurement, after as many that fill the lists and the kinds of prompt; whose keys are sized."""

TOPICS, SPREAD = 20, 0.5
"""Prompts are of so many topics, with so much noise around each."""

OWNER = "5f2b9c0d81e7a364"
KEYS = ("request", "story", "vector", "alias")
LABELS, GAIN = 2000.0, 100.0
RECENCY_DAYS = 30.0
MODEL = EmbeddingModel("static-256-6b39009f", DIMENSION)


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of request. `named`: its client has a key and chose its id, a UUID."""

    name: str
    arms: int = 5
    neighbours: int = 0
    named: bool = False
    rated: bool = False
    history: bool = False


CASES = (
    Case("plain"),
    Case("rated", rated=True),
    Case("with 50 neighbours", neighbours=50),
    Case("12 models", arms=12),
    Case("12 models, 50 neighbours", arms=12, neighbours=50),
    Case("the same, rated, with a key and an id of the client", arms=12, neighbours=50, named=True, rated=True),
    Case("the same with a history", arms=12, neighbours=50, named=True, rated=True, history=True),
)


def measure(found: Findings) -> None:
    """Measure every kind of request."""
    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        redis = Server("redis", redis_command(port, Path(name)), Path(name) / "redis.log")
        with running(redis, port):
            rows = [asyncio.run(_row(case, f"redis://127.0.0.1:{port}/0")) for case in CASES]
    found.figures["redis bytes"] = max(row.settled for row in rows if not row.case.history)
    found.figures["redis bytes with history"] = max(row.settled for row in rows if row.case.history)
    found.more.append(
        Table(
            "Memory of a request in Redis",
            f"Bytes, mean of {NUMBER} requests. Recorded: before it is learned; settled: when its point is in Qdrant "
            "(and it is in the history). Both are differences of `used_memory`; the other columns are `MEMORY USAGE` "
            "of its keys when it is settled.",
            ("request", "recorded", "settled", *KEYS),
            [
                (row.case.name, *(f"{size:.0f}" for size in (row.recorded, row.settled, *row.keys.values())))
                for row in rows
            ],
        )
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """Bytes of a request."""

    case: Case
    recorded: float
    settled: float
    keys: Mapping[str, float]


async def _row(case: Case, url: str) -> _Row:
    print(f"storage: {case.name}", flush=True)
    client = connect(Settings.model_validate({"REDIS_URL": url}))
    try:
        await client.flushall()
        world = await _World.on(client, case)
        await world.send(NUMBER)
        await world.settle()
        before = await _used(client)
        sent = await world.send(NUMBER)
        recorded = await _used(client) - before
        await world.settle()
        settled = await _used(client) - before
        return _Row(case, recorded / NUMBER, settled / NUMBER, await _keys(client, sent))
    finally:
        await client.aclose(close_connection_pool=True)


async def _used(client: Any) -> int:
    await client.memory_purge()
    return int((await client.info("memory"))["used_memory"])


async def _keys(client: Any, sent: Sequence[RequestRecord]) -> Mapping[str, float]:
    """Return the bytes of each kind of key of a request."""
    sizes = Counter(dict.fromkeys(KEYS, 0))
    for record in sent[:LOOKED_AT]:
        for kind in KEYS:
            name = f"{record.owner}:{record.public_id}" if kind == "alias" else record.id
            sizes[kind] += await client.memory_usage(f"{{router}}:{kind}:{name}") or 0
    return {kind: sizes[kind] / LOOKED_AT for kind in KEYS}


class _World:
    """Writer and learner of made-up requests."""

    def __init__(self, client: Client, case: Case) -> None:
        self._case, self._rng, clock = case, np.random.default_rng(0), SystemClock()
        self._topics = self._rng.standard_normal((TOPICS, DIMENSION))
        bound = OutboxBound(1_000_000) if case.history else NO_HISTORY
        lists = TrafficBounds(requests=NUMBER // 2)
        self._log = RedisRequestLog(client, window_s=7 * 86_400.0, clock=clock, history_bound=bound, traffic=lists)
        self._queue, self._outbox = RedisEventQueue(client), RedisOutbox(client)
        metrics = LearnerMetrics(CollectorRegistry())

        async def model() -> EmbeddingModel:
            return MODEL

        store = RedisKindStore(client, clock=clock)
        kinds = KindAssigner(store=store, log=self._log, fetch_model=model, clock=clock, metrics=metrics)
        posteriors = RedisPosteriorStore(client, recency_days=RECENCY_DAYS, clock=clock, history_bound=bound)
        self._learner = EventLearner(
            "bench", queue=self._queue, log=self._log, posteriors=posteriors, kinds=kinds, clock=clock, metrics=metrics
        )
        self._clock, self._policy = clock, build_policy(BanditSettings())
        arms = [Arm(model.id, Price(1e-7 * (at + 1), 4e-7 * (at + 1))) for at, model in enumerate(MODELS[: case.arms])]
        self._arms = tuple(arm.id for arm in arms)
        self._posterior = self._policy.fit(learned_state(arms, LABELS, GAIN, self._rng), arms)

    @classmethod
    async def on(cls, client: Client, case: Case) -> _World:
        """Return a world with its stream of events."""
        world = cls(client, case)
        await world._queue.prepare()
        return world

    async def send(self, number: int) -> list[RequestRecord]:
        """Record requests; rate them where the case says so."""
        entries = [self._entry() for _ in range(number)]
        for at in range(0, number, 50):
            await self._log.record(entries[at : at + 50])
        for record in [entry.record for entry in entries] if self._case.rated else ():
            now = self._clock.now()
            await self._log.rate(owner=record.owner, public_id=record.public_id, score=1.0, text=None, now=now)
        return [entry.record for entry in entries]

    async def settle(self) -> None:
        """Learn all events, write the history, and mark the points as written."""
        await self._learner.drain()
        while waiting := await self._outbox.read(500):
            await self._outbox.done(waiting)
        while due := await self._log.pending_index(200):
            await self._log.indexed(due)

    def _entry(self) -> NewRecord:
        now, own_id = self._clock.now(), uuid7(self._clock.now())
        decision, vector = self._decision(now)
        took_s, cost_usd, overhead_s = self._rng.uniform((0.5, 1e-5, 1e-3), (8, 1e-2, 1e-2)).tolist()
        prompt_tokens, completion_tokens = self._rng.integers(20, 2000, 2).tolist()
        outcome = Outcome(
            Status.ANSWERED, decision.arm, cost_usd, "upstream", prompt_tokens, completion_tokens, overhead_s, took_s,
            None, streamed=False, attempts=(Attempt(decision.arm, None, took_s, spent=True),), failed_checks=(),
        )  # fmt: skip
        named = (uuid7(now), OWNER) if self._case.named else (own_id, "public")
        record = RequestRecord(own_id, *named, now, "auto", MODEL.id, decision, outcome, settings_hash="5d2f00c2a1b7")
        return NewRecord(structs.replace(record, traits=("shape:short", "script:Latn")), vector)

    def _decision(self, now: float) -> tuple[Decision, Any]:
        noise = SPREAD * self._rng.standard_normal(DIMENSION)
        vector = (self._topics[self._rng.integers(TOPICS)] + noise).astype(np.float32)
        vector /= np.linalg.norm(vector)
        similarities = sorted(self._rng.uniform(0.7, 1, self._case.neighbours).tolist(), reverse=True)
        neighbours = tuple(
            Neighbour(uuid7(now - age), similarity, self._arms[at % len(self._arms)], score)
            for at, (similarity, age, score) in enumerate(
                zip(
                    similarities,
                    self._rng.uniform(0, RECENCY_DAYS * 86_400, len(similarities)).tolist(),
                    self._rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], len(similarities)).tolist(),
                    strict=True,
                )
            )
        )
        decision = self._policy.decide(self._posterior, Context(vector, neighbours), self._arms, self._rng)
        examples = tuple(uuid7(now - age) for age in (60.0, 3600.0, 86_400.0))
        reason = decision.reason.replace(" requests)", f" requests, such as {examples[0]})")
        decision = replace(decision, reason=reason, snapshot=self._rng.bytes(8).hex(), examples=examples)
        return decision, vector

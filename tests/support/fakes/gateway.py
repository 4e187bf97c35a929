"""A gateway on fakes: every port in memory, the real composition above them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from services.gateway.adapters import Adapters
from services.gateway.app import Gateway, build_gateway
from services.gateway.http.fast_chat import PlainHeaders
from services.gateway.models.model_lists import ModelLists
from services.gateway.request_context import Caller, RequestContext
from shared import tracing
from shared.bandit.arms import Arm, Price
from shared.clock import SystemClock, utc_day
from shared.metrics import GatewayMetrics
from shared.models_file import ModelsFile, models_of
from shared.ports import ChatModel, Clock
from shared.resilience.supervision import Loop
from shared.schemas.chat import ChatRequest, parse_chat
from shared.schemas.ids import uuid7
from shared.schemas.records import RequestRecord
from shared.settings import Settings, load_settings
from shared.upstreams import Upstreams
from tests.support.fakes.arm_changes import FakeArmChanges, FakeFreeArms
from tests.support.fakes.chat_model import FakeChatModel
from tests.support.fakes.clock import FakeClock
from tests.support.fakes.embedder import FakeEmbedder
from tests.support.fakes.evaluation_queue import FakeEvaluationQueue
from tests.support.fakes.event_queue import FakeEventQueue
from tests.support.fakes.heartbeats import FakeHeartbeats
from tests.support.fakes.memory import Memory
from tests.support.fakes.posterior_history import FakePosteriorHistory
from tests.support.fakes.posterior_store import FakePosteriorStore
from tests.support.fakes.request_index import FakeRequestIndex
from tests.support.fakes.request_list import FakeRequestList
from tests.support.fakes.request_log import FakeRequestLog
from tests.support.fakes.supervision import new_supervisor
from tests.support.fakes.traffic import FakeTraffic
from tests.support.fakes.upstreams import FakeUpstreams

ARMS = tuple(
    Arm(name, Price(prompt_usd=price, completion_usd=2 * price))
    for name, price in (("a/small", 1e-7), ("b/middle", 1e-6), ("c/large", 1e-5), ("d/spare", 1e-6))
)
"""What the upstream lists. The first three are the router's arms, the last one its default."""


def settings_for(spool: Path, **changes: object) -> Settings:
    """Return settings for a gateway on fakes."""
    values = {
        "LLM_MODELS": "a/small,b/middle,c/large",
        "DEFAULT_MODEL": "d/spare",
        "OPENROUTER_BASE_URL": "http://127.0.0.1:1/v1",
        "HOST": "127.0.0.1",
        "SPOOL_DIR": str(spool),
        "EMBED_TIMEOUT_MS": "1000",  # a busy test machine is not a slow embedder
        "SEARCH_TIMEOUT_MS": "1000",
        "REDIS_TIMEOUT_MS": "1000",
        **{name: str(value) for name, value in changes.items()},
    }
    return load_settings(values, dotenv=None)


def lists_of(upstream: ChatModel, clock: Clock) -> ModelLists:
    """Return the lists of a single upstream."""
    file = models_of(load_settings({"OPENROUTER_BASE_URL": "http://127.0.0.1:1/v1"}, dotenv=None), {})
    return ModelLists(file, FakeUpstreams(upstream), clock)


class TestClock(FakeClock):
    """Wall-clock by hand, durations real: the loop's timeouts are real, too."""

    __test__ = False

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass
class World:
    """The gateway's surroundings, each part of which a test may break."""

    settings: Settings
    clock: FakeClock = field(default_factory=TestClock)
    memory: Memory = field(init=False)
    embedder: FakeEmbedder = field(default_factory=FakeEmbedder)
    index: FakeRequestIndex = field(default_factory=FakeRequestIndex)
    upstream: FakeChatModel = field(default_factory=lambda: FakeChatModel(ARMS))
    upstreams: Upstreams | None = None
    """Those of a MODELS_FILE, in place of `upstream`."""
    metrics: GatewayMetrics = field(default_factory=lambda: GatewayMetrics(CollectorRegistry()))

    def __post_init__(self) -> None:
        self.memory = Memory(clock=self.clock)
        self.log = FakeRequestLog(self.memory)
        self.store = FakePosteriorStore(self.memory)
        self.heartbeats = FakeHeartbeats(self.memory)
        self.arm_changes = FakeArmChanges(self.memory)

    @property
    def file(self) -> ModelsFile:
        """Return what the settings say of upstreams and models."""
        return models_of(self.settings, {})

    @property
    def adapters(self) -> Adapters:
        """Return the ports."""
        return Adapters(
            embedder=self.embedder,
            index=self.index,
            log=self.log,
            request_list=FakeRequestList(self.memory),
            traffic=FakeTraffic(self.memory),
            posterior_history=FakePosteriorHistory(self.memory),
            store=self.store,
            queue=FakeEventQueue(self.memory),
            heartbeats=self.heartbeats,
            arm_changes=self.arm_changes,
            free_arms=FakeFreeArms(self.memory),
            evaluations=FakeEvaluationQueue(self.memory),
            upstreams=self.upstreams or FakeUpstreams(self.upstream),
            clock=self.clock,
            redis_version=_version,
        )

    def learn_a_rating(self) -> None:
        """Put one rating into the sums: before there is one, few requests search for neighbours."""
        sums = Counter(requests=1, labels=1, score_micro=500_000, score_sq_micro=250_000)
        self.memory.sums[ARMS[0].id, utc_day(self.clock.now())] = sums

    @asynccontextmanager
    async def gateway(self, *, refreshed: bool = True) -> AsyncIterator[Gateway]:
        """Run the use cases' surroundings; `refreshed`: every background step has succeeded once."""
        supervisor = new_supervisor()
        gateway = build_gateway(self.settings, self.adapters, self.metrics, supervisor, self.file)
        loops: dict[str, Loop] = {
            "records": gateway.record_writer.write_for_ever,
            "wake-ups": gateway.record_writer.wake_for_ever,
        }
        if gateway.evaluations is not None:
            loops["evaluations"] = gateway.evaluations.submitter.submit_for_ever
        async with supervisor.running(loops):
            if refreshed:
                await gateway.free_arms.refresh()
                await gateway.catalogue.refresh()
                await gateway.free_arms.refresh()
                await gateway.context_gatherer.prepare()
                await gateway.posteriors.refresh()
            yield gateway
            await gateway.reservations.settle()
            await gateway.record_writer.flush(5.0)
        await gateway.record_writer.close()

    @property
    def records(self) -> list[RequestRecord]:
        """Return what has been stored, in order."""
        return [story.record for story in self.memory.stories.values() if story.record is not None]

    @property
    def recorded(self) -> int:
        """Return how often a record has been written, the same one more than once, too."""
        return self.memory.recorded

    def counted(self, name: str, **labels: str) -> float:
        """Return a counter's or gauge's value."""
        metric = getattr(self.metrics, name)
        child = metric.labels(**labels) if labels else metric
        return float(child._value.get())


async def _version() -> str:
    return "0.0-fake"


def new_request(
    public_id: str | None = None, *, owner: str = "public", started: float | None = None, **changes: Any
) -> RequestContext:
    """Return the context of a request whose body has just been read."""
    clock = SystemClock()
    own_id = uuid7(clock.now())
    trace = tracing.begin(tracing.IdTracer(), [], [], own_id)
    return RequestContext(
        PlainHeaders({}), time.perf_counter(), own_id, public_id, trace, Caller(owner),
        body_read_at=clock.monotonic() if started is None else started, **changes,
    )  # fmt: skip


def chat(text: str = "What is the capital of Peru?", **fields: object) -> ChatRequest:
    """Return a validated chat request."""
    body: Mapping[str, object] = {"messages": [{"role": "user", "content": text}], **fields}
    return parse_chat(orjson.dumps(body))


def known(figure: float | None) -> float:
    """Return a cost that must not be unknown."""
    assert figure is not None
    return figure

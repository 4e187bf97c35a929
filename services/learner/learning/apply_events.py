"""Event learner: turns outcome and feedback events into integer sums and applies them exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from services.learner.learning.assign_kinds import KindAssigner
from services.learner.learning.effects import effect_of
from shared.errors import DependencyError
from shared.logs import get_logger
from shared.metrics import LearnerMetrics
from shared.ports import Clock, EventQueue, PosteriorStore, RequestLog
from shared.schemas.events import EVENT_VERSION, FIRST_VERSION, Event, EventKind
from shared.schemas.storage import Applied, Effect, LoggedRequest

BATCH = 256
"""Events per batch: enough to make round trips cheap, few enough to finish within milliseconds."""

CONCURRENT_BATCHES = 2
"""Batches in flight while a backlog is drained: Redis works on one while the other is computed."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RedeliveryPolicy:
    """Redelivery policy: when an event that cannot be applied goes to the dead letters.

    Attributes:
        idle_s: an event delivered this long ago and not acknowledged is claimed: its learner is dead or stuck.
        deliveries: an event that fails becomes a dead letter after this many deliveries.
        missing_s: an event without a record (which may wait in a gateway's spool) is kept this long. A record that is
            written later adds its events again.
        foreign_s: an event of an unknown version is kept this long for a newer learner.
        drain_s: longest time of one drain or sweep, so that a job stays below arq's time limit.
    """

    idle_s: float = 30.0
    deliveries: int = 5
    missing_s: float = 3600.0
    foreign_s: float = 7 * 86_400.0
    drain_s: float = 4.0


def _readable(event: Event) -> bool:
    return FIRST_VERSION <= event.version <= EVENT_VERSION and event.kind is not EventKind.UNKNOWN


class EventLearner:
    """Consumer of the event stream. `drain` and `sweep` must not run concurrently."""

    def __init__(
        self,
        consumer: str,
        *,
        queue: EventQueue,
        log: RequestLog,
        posteriors: PosteriorStore,
        kinds: KindAssigner,
        clock: Clock,
        metrics: LearnerMetrics,
        redelivery: RedeliveryPolicy | None = None,
    ) -> None:
        self._consumer = consumer
        self._queue = queue
        self._log = log
        self._posteriors = posteriors
        self._kinds = kinds
        self._clock = clock
        self._metrics = metrics
        self._redelivery = redelivery or RedeliveryPolicy()
        self._unfinished: list[list[Event]] = []
        self.stopping = False

    async def drain(self) -> int:
        """Apply new events until there are none; return how many there were.

        Batches of a backlog may be applied in any order, as between two learners: sums commute.
        """
        until, total = self._clock.monotonic() + self._redelivery.drain_s, 0
        await self._kinds.prepare()
        # First the batches that a failure of Redis interrupted: they are delivered to us and not acknowledged.
        for events in self._unfinished.copy():
            total += await self._finish(events)
        total += (first := await self._batch(until))
        if first == BATCH:
            total += await self._catch_up(until)
        return total

    async def _catch_up(self, until: float) -> int:
        numbers = await asyncio.gather(
            *(self._drain_batches(until) for _ in range(CONCURRENT_BATCHES)), return_exceptions=True
        )
        for number in numbers:
            if isinstance(number, BaseException):
                raise number
        return sum(number for number in numbers if isinstance(number, int))

    async def _drain_batches(self, until: float) -> int:
        """Apply batches until one is not full."""
        total, number = 0, BATCH
        while number == BATCH:
            number = await self._batch(until)
            total += number
        return total

    async def _batch(self, until: float) -> int:
        """Apply one batch of new events; return its size, 0 when it is time to stop."""
        if self.stopping or self._clock.monotonic() >= until:
            return 0
        events = await self._queue.read(self._consumer, BATCH)
        self._unfinished.append(events)
        return await self._finish(events)

    async def _finish(self, events: list[Event]) -> int:
        await self.learn(events)
        self._unfinished.remove(events)
        return len(events)

    async def sweep(self) -> int:
        """Claim and apply events that were delivered but never acknowledged, by any learner; return how many."""
        until, total = self._clock.monotonic() + self._redelivery.drain_s, 0
        while not self.stopping and self._clock.monotonic() < until:
            events = await self._queue.claim(self._consumer, idle_s=self._redelivery.idle_s, limit=BATCH)
            await self.learn(events)
            total += len(events)
            if len(events) < BATCH:
                break
        return total

    async def learn(self, events: Sequence[Event]) -> None:
        """Apply one batch. An event that cannot be applied stays in the stream until the redelivery policy gives up."""
        if not events:
            return
        began = self._clock.monotonic()
        ours = [event for event in events if _readable(event)]
        for event in events:
            if not _readable(event):
                await self._foreign(event)
        requests = await self._kinds.assign(await self._log.load([event.request_id for event in ours]))
        effects: list[Effect] = []
        for event, request in zip(ours, requests, strict=True):
            effect = await self._effect(event, request)
            if effect is not None:
                effects.append(effect)
        for effect, applied in zip(effects, await self._posteriors.apply(effects), strict=True):
            await self._applied(effect.event, applied)
        self._metrics.batch_seconds.observe(self._clock.monotonic() - began)

    async def _effect(self, event: Event, request: LoggedRequest | None) -> Effect | None:
        if request is None:
            await self._missing(event)
            return None
        try:
            return effect_of(event, request)
        except DependencyError:
            raise
        except Exception as error:  # noqa: BLE001 - one event must not stall all others
            await self._poison(event, f"{type(error).__name__}: {error}")
            return None

    async def _applied(self, event: Event, applied: Applied) -> None:
        if applied is Applied.MISSING:
            await self._missing(event)
        elif applied is Applied.REFUSED:
            await self._poison(event, "the stored sums or this contribution are not integers in range")
        else:
            self._count(event, applied.value)

    async def _missing(self, event: Event) -> None:
        if self._age_s(event) > self._redelivery.missing_s:
            await self._bury(event, "its record was never written, has expired or cannot be read")
        else:
            self._count(event, Applied.MISSING.value)

    async def _foreign(self, event: Event) -> None:
        if event.version <= EVENT_VERSION:
            await self._poison(event, "a field is missing or cannot be read")
        elif self._age_s(event) > self._redelivery.foreign_s:
            await self._bury(event, f"no learner reads its version {event.version}")
        else:
            self._count(event, "foreign")

    async def _poison(self, event: Event, reason: str) -> None:
        if event.deliveries >= self._redelivery.deliveries:
            await self._bury(event, reason)
        else:
            self._count(event, "failed")

    async def _bury(self, event: Event, reason: str) -> None:
        await self._queue.bury(event, reason)
        self._count(event, "buried")
        _log.error("event buried", entry=event.entry_id, kind=event.kind.value, request=event.request_id, reason=reason)

    def _count(self, event: Event, result: str) -> None:
        self._metrics.events.labels(kind=event.kind.value, result=result).inc()

    def _age_s(self, event: Event) -> float:
        stamp = event.entry_id.partition("-")[0]
        return self._clock.now() - int(stamp) / 1000 if stamp.isdigit() else 0.0
